/**
 * For several processes: frames go through Redis, where the newest of each slot stay for those who join late.
 *
 * Nothing here waits for a slow party. Who publishes leaves frames in an outbox, where newer ones replace older ones. Who
 * subscribes reads from a connection of its own; when a process does not keep up, Redis cuts that connection
 * (client-output-buffer-limit), others notice nothing, and the process joins anew and is told the newest frames.
 */
import { setTimeout as pause } from "node:timers/promises";
import type { RedisConnection } from "../platform/redis.ts";
import { type BusMessage, type Frame, slotOf } from "./frame.ts";
import { type FrameBus, NEWEST_FRAME_SECONDS } from "./frame-bus.ts";
import { decodeMessage, encodeMessage } from "./frame-codec.ts";
import { FrameOutbox } from "./frame-outbox.ts";

/** Between two batches of one process: more frames a second than anybody sees replace each other here. */
const MIN_BATCH_INTERVAL_MS = 10;
const MAX_BATCH_BYTES = 1024 * 1024;
/** Generations that are joined with one command. */
const JOINED_AT_ONCE = 200;
const CHANNEL = "atelier:frames:";
const NEWEST = "atelier:newest:";
/** Fields of the order of a slot's frame, beside those of the frames. */
const ORDER = "order ";
/** Attempts weigh more than any number of frames, and both fit the numbers of Lua. */
const FRAMES_PER_ATTEMPT = 2 ** 32;

/** In one step, because a predecessor of the dispatcher may still publish frames of an earlier attempt. */
const KEEP_AND_PUBLISH = `
local order = tonumber(ARGV[2])
local known = redis.call('HGET', KEYS[1], '${ORDER}' .. ARGV[1])
if known and tonumber(known) >= order then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[5], '${ORDER}' .. ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('PUBLISH', ARGV[4], ARGV[5])
return 1`;

type Listener = (message: BusMessage) => void;

interface Watched {
  readonly listeners: Set<Listener>;
  /** Resolves when Redis knows, or does not answer. */
  readonly joined: Promise<void>;
}

export class RedisFrameBus implements FrameBus {
  private readonly watched = new Map<string, Watched>();
  private readonly outbox: FrameOutbox;
  private isSending = false;

  /**
   * The connections are closed with the bus.
   * @param onDrop a frame gave way before it was sent
   */
  constructor(
    private readonly connections: { readonly publisher: RedisConnection; readonly subscriber: RedisConnection },
    onDrop?: () => void,
  ) {
    this.outbox = new FrameOutbox(onDrop);
    const { publisher, subscriber } = connections;
    publisher.onUp(() => {
      void this.send();
      void this.repeatNewest([...this.watched.keys()]);
    });
    subscriber.onUp(() => void this.rejoin());
    subscriber.onMessage((channel, bytes) => {
      const watched = this.watched.get(channel.slice(CHANNEL.length));
      const message = watched && decodeMessage(bytes);
      if (message !== undefined) this.deliver(message);
    });
  }

  publish(message: BusMessage): void {
    this.outbox.put(message);
    void this.send();
  }

  async subscribe(generationId: string, listener: Listener): Promise<() => void> {
    const known = this.watched.get(generationId);
    const watched = known ?? { listeners: new Set(), joined: this.join([generationId]) };
    this.watched.set(generationId, watched);
    watched.listeners.add(listener);
    await watched.joined;
    return () => {
      watched.listeners.delete(listener);
      if (watched.listeners.size > 0 || this.watched.get(generationId) !== watched) return;
      this.watched.delete(generationId);
      void ignoreFailure(this.connections.subscriber.ask((client) => client.unsubscribe(CHANNEL + generationId)));
    };
  }

  async newest(generationId: string): Promise<readonly Frame[]> {
    const asked = this.connections.publisher.ask((client) => client.hgetallBuffer(NEWEST + generationId));
    const frames: Frame[] = [];
    for (const [slot, bytes] of Object.entries((await ignoreFailure(asked)) ?? {})) {
      const message = slot.startsWith(ORDER) ? undefined : decodeMessage(bytes);
      if (message !== undefined && message.kind !== "milestone") frames.push(message);
    }
    return frames;
  }

  async close(): Promise<void> {
    this.watched.clear();
    this.connections.publisher.close();
    this.connections.subscriber.close();
  }

  /** Empties the outbox, batch after batch, as long as Redis takes them. What it refuses is lost: newer ones follow. */
  private async send(): Promise<void> {
    if (this.isSending) return;
    this.isSending = true;
    await Promise.resolve(); // for what is published together with this
    const { publisher } = this.connections;
    while (publisher.isUp) {
      const batch = this.outbox.take(MAX_BATCH_BYTES);
      if (batch.length === 0) break;
      await ignoreFailure(publisher.ask((client) => sendBatch(client, batch)));
      await pause(MIN_BATCH_INTERVAL_MS);
    }
    this.isSending = false;
  }

  /** The server may be another one, which knows nothing of us. */
  private async rejoin(): Promise<void> {
    const ids = [...this.watched.keys()];
    for (let i = 0; i < ids.length; i += JOINED_AT_ONCE) {
      const some = ids.slice(i, i + JOINED_AT_ONCE);
      await this.join(some);
      await this.repeatNewest(some);
    }
  }

  /** What was published while we could not hear. Subscribers drop what they know. */
  private async repeatNewest(generationIds: readonly string[]): Promise<void> {
    for (const id of generationIds) for (const frame of await this.newest(id)) this.deliver(frame);
  }

  private async join(generationIds: readonly string[]): Promise<void> {
    const channels = generationIds.map((id) => CHANNEL + id);
    await ignoreFailure(this.connections.subscriber.ask((client) => client.subscribe(...channels)));
  }

  private deliver(message: BusMessage): void {
    for (const listener of this.watched.get(message.generationId)?.listeners ?? []) listener(message);
  }
}

type Client = Parameters<Parameters<RedisConnection["ask"]>[0]>[0];

async function sendBatch(client: Client, batch: readonly BusMessage[]): Promise<void> {
  const pipeline = client.pipeline();
  for (const message of batch) {
    const channel = CHANNEL + message.generationId;
    const bytes = encodeMessage(message);
    if (message.kind === "milestone") {
      pipeline.publish(channel, bytes);
      continue;
    }
    const order = message.attempt * FRAMES_PER_ATTEMPT + message.frame;
    const kept = [slotOf(message), order, NEWEST_FRAME_SECONDS, channel, bytes];
    pipeline.eval(KEEP_AND_PUBLISH, 1, NEWEST + message.generationId, ...kept);
  }
  for (const [error] of (await pipeline.exec()) ?? []) if (error !== null) throw error;
}

/** The connection has told it. */
const ignoreFailure = <T>(asked: Promise<T>): Promise<T | undefined> => asked.catch(() => undefined);
