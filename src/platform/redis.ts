/**
 * Connections to a Redis server, which holds nothing that cannot be lost: whoever asks is answered or refused within a
 * moment, and goes on without.
 */
import { Redis } from "ioredis";
import type { Logger } from "./logger.ts";
import { type Metrics, secondsSince } from "./metrics.ts";

const HEARTBEAT_MS = 1000;
/** A server that keeps silent for so long while it is asked something: the connection is opened anew. */
const SILENCE_MS = 5000;
const CONNECT_TIMEOUT_MS = 2000;
const FIRST_RETRY_MS = 25;
const MAX_RETRY_MS = 2000;
/** Refusals, as of a server whose memory is full, come with every command; one line a minute tells them. */
const MIN_MS_BETWEEN_WARNINGS = 60_000;

export interface RedisOptions {
  readonly url: string;
  /** What the connection is for, as the log and the server's list of clients name it. */
  readonly purpose: string;
  /** How long a command may take at most. */
  readonly timeoutMs: number;
  readonly logger: Logger;
  readonly metrics?: Metrics;
}

/** Comes back by itself. Nothing waits for it: what is asked while it is away fails at once, and nothing is sent twice. */
export class RedisConnection {
  private readonly client: Redis;
  private readonly upListeners: (() => void)[] = [];
  private readonly heartbeat: NodeJS.Timeout;
  /** Did not answer in time. */
  private isSilent = false;
  private isKnownAway = false;
  private warnedAt = Number.NEGATIVE_INFINITY;

  constructor(private readonly options: RedisOptions) {
    this.client = new Redis(options.url, {
      connectionName: `atelier-${options.purpose}`,
      disableClientInfo: true,
      commandTimeout: options.timeoutMs,
      socketTimeout: SILENCE_MS,
      connectTimeout: CONNECT_TIMEOUT_MS,
      retryStrategy: retryDelayMs,
      // The server that we know became a replica of another.
      reconnectOnError: ({ message }) => message.startsWith("READONLY"),
      enableOfflineQueue: false,
      autoResubscribe: false,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
    });
    this.client.on("error", (error: Error) => this.noteAway(error));
    this.client.on("close", () => this.noteAway());
    this.client.on("ready", () => this.noteUp());
    this.heartbeat = setInterval(() => void this.beat(), HEARTBEAT_MS).unref();
  }

  get isUp(): boolean {
    return this.client.status === "ready" && !this.isSilent;
  }

  /** Calls `listener` each time that the server is there again, and when it is there first. */
  onUp(listener: () => void): void {
    this.upListeners.push(listener);
  }

  onMessage(listener: (channel: string, message: Buffer) => void): void {
    this.client.on("messageBuffer", (channel: Buffer, message: Buffer) => listener(channel.toString(), message));
  }

  /** @throws when the server is away, is silent for too long, or refuses */
  async ask<T>(command: (client: Redis) => Promise<T>): Promise<T> {
    if (!this.isUp) throw new Error("Redis is away");
    const startedAt = performance.now();
    const note = (outcome: "done" | "failed"): void =>
      this.options.metrics?.redisSeconds.observe(
        { connection: this.options.purpose, outcome },
        secondsSince(startedAt),
      );
    try {
      const answer = await command(this.client);
      note("done");
      return answer;
    } catch (error) {
      note("failed");
      this.noteFailure(error);
      throw error;
    }
  }

  close(): void {
    clearInterval(this.heartbeat);
    this.upListeners.length = 0;
    this.isKnownAway = true; // on purpose
    this.client.disconnect();
  }

  /** Finds out whether a silent server answers again, and, with SILENCE_MS, that one which seems to be there is not. */
  private async beat(): Promise<void> {
    if (this.client.status !== "ready") return;
    try {
      await this.client.ping();
      if (this.isSilent) this.noteUp();
    } catch (error) {
      this.noteFailure(error);
    }
  }

  private noteUp(): void {
    const { purpose, logger } = this.options;
    this.isSilent = false;
    this.options.metrics?.redisUp.set({ connection: purpose }, 1);
    if (this.isKnownAway) logger.info({ connection: purpose }, "redis is back");
    this.isKnownAway = false;
    for (const listener of this.upListeners) listener();
  }

  private noteAway(err?: unknown): void {
    if (this.isKnownAway) return;
    this.isKnownAway = true;
    this.options.metrics?.redisUp.set({ connection: this.options.purpose }, 0);
    this.options.logger.warn({ connection: this.options.purpose, reason: reasonOf(err) }, "redis is away");
  }

  private noteFailure(err: unknown): void {
    const { purpose, logger } = this.options;
    if (!(err instanceof Error) || err.name !== "ReplyError") {
      this.isSilent = true;
      this.noteAway(err);
      return;
    }
    if (performance.now() - this.warnedAt < MIN_MS_BETWEEN_WARNINGS) return;
    this.warnedAt = performance.now();
    logger.warn({ connection: purpose, reason: reasonOf(err) }, "redis refused a command");
  }
}

/** Not the error itself: it has the command with it, and so the password, or somebody's preview. */
const reasonOf = (err: unknown): string => (err instanceof Error ? err.message || err.name : "connection closed");

/** Longer each time, and not at the same time as all other processes. */
const retryDelayMs = (attempt: number): number =>
  Math.min(FIRST_RETRY_MS * 2 ** attempt, MAX_RETRY_MS) * (0.5 + Math.random() / 2);
