/** A client that watches one generation to its end, whatever happens to its sockets: it goes on through the other API. */
import { setTimeout as pause } from "node:timers/promises";
import { createClient } from "graphql-ws";
import WebSocket from "ws";

const PATIENCE_MS = 3000;
const KEEP_ALIVE_MS = 2000;
const PAUSE_MS = 100;

const WATCH = `subscription($id: ID!, $afterSeq: Int!) {
  generationEvents(id: $id, afterSeq: $afterSeq) { __typename seq attempt ... on FinishedEvent { state } }
}`;

/** Gives a server up that does not take part in the opening of a socket. */
class PatientSocket extends WebSocket {
  constructor(address: string, protocols?: string | string[]) {
    super(address, protocols, { handshakeTimeout: PATIENCE_MS });
  }
}

export interface SeenMilestone {
  readonly kind: string;
  readonly seq: number;
  /** Unix time. */
  readonly at: number;
  readonly api: number;
}

export interface WatcherOptions {
  readonly id: string;
  readonly urls: readonly string[];
  readonly apiKey: string;
  readonly firstApi: number;
  /** For how long each of its sockets may live. */
  readonly lifeOfSocket: () => number | undefined;
}

export class Watcher {
  readonly milestones: SeenMilestone[] = [];
  /** What no outage explains. */
  readonly complaints: string[] = [];
  /** When a socket's server was killed, and how many milliseconds later the next connection was there. */
  readonly resumed: { readonly at: number; readonly ms: number }[] = [];
  sockets = 0;
  frames = 0;
  private afterSeq = 0;
  private state: string | undefined;
  private connectedTo: number | undefined;
  private lostAt: number | undefined;

  constructor(private readonly options: WatcherOptions) {}

  /** Resolves with the state that the last milestone tells. */
  async run(): Promise<string> {
    const { urls, firstApi } = this.options;
    for (let api = firstApi; ; api = (api + 1) % urls.length) {
      this.sockets++;
      await this.watch(api).catch(() => undefined);
      this.connectedTo = undefined;
      if (this.state !== undefined) return this.state;
      await pause(PAUSE_MS);
    }
  }

  /** An API was killed. */
  noteKilled(api: number, at: number): void {
    if (this.connectedTo === api) this.lostAt = at;
  }

  private async watch(api: number): Promise<void> {
    const { id, urls, apiKey, lifeOfSocket } = this.options;
    let socket: WebSocket | undefined;
    let waiting: NodeJS.Timeout | undefined;
    const life = lifeOfSocket();
    const cut = life === undefined ? undefined : setTimeout(() => socket?.terminate(), life);
    const client = createClient({
      url: (urls[api] ?? "").replace("http", "ws"),
      webSocketImpl: PatientSocket,
      retryAttempts: 0,
      keepAlive: KEEP_ALIVE_MS,
      connectionAckWaitTimeout: PATIENCE_MS,
      connectionParams: { authorization: `Bearer ${apiKey}` },
      on: {
        opened: (opened) => {
          socket = opened as WebSocket;
        },
        connected: () => this.connected(api),
        ping: (isTheirs) => {
          if (!isTheirs) waiting = setTimeout(() => socket?.terminate(), PATIENCE_MS);
        },
        pong: () => clearTimeout(waiting),
        closed: (event) => this.closed(event as { code: number; reason: string }),
      },
    });
    try {
      const variables = { id, afterSeq: this.afterSeq };
      for await (const { data, errors } of client.iterate<any>({ query: WATCH, variables })) {
        if (errors !== undefined) return this.refused(errors);
        this.take(data.generationEvents, api);
      }
    } catch (error) {
      this.refused(error);
    } finally {
      clearTimeout(cut);
      clearTimeout(waiting);
      await client.dispose();
    }
  }

  private connected(api: number): void {
    this.connectedTo = api;
    if (this.lostAt !== undefined) this.resumed.push({ at: this.lostAt, ms: Date.now() - this.lostAt });
    this.lostAt = undefined;
  }

  private closed({ code, reason }: { code: number; reason: string }): void {
    if (code >= 4400 && code < 4499) this.complaints.push(`its socket was closed: ${code} ${reason}`);
  }

  /** Outages are told as these; anything else would be the same at the next try. */
  private refused(error: unknown): void {
    const errors = Array.isArray(error) ? error : [];
    for (const { message, extensions } of errors)
      if (!["INTERNAL", "UNAVAILABLE"].includes(extensions?.code))
        this.complaints.push(`its subscription was refused: ${message}`);
  }

  private take({ __typename: kind, seq, state }: any, api: number): void {
    this.afterSeq = seq;
    if (!["QueuedEvent", "StartedEvent", "AttemptFailedEvent", "FinishedEvent"].includes(kind)) {
      this.frames++;
      return;
    }
    this.milestones.push({ kind, seq, at: Date.now(), api });
    if (kind === "FinishedEvent") this.state = state;
  }
}
