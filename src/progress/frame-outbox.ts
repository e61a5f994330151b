/**
 * What a process has published and the bus has not taken yet: the newest frame of every slot, in bounded bytes. So a bus
 * that is slow or away costs frames, never memory.
 */
import { type BusMessage, slotOf } from "./frame.ts";
import { NEWEST_FRAME_SECONDS } from "./frame-bus.ts";

/** 300 previews of the largest size. */
export const MAX_OUTBOX_BYTES = 8 * 1024 * 1024;
/** More than any frame has: a preview has 24 KiB, an answer of 4096 tokens less than 64. */
const MAX_MESSAGE_BYTES = 256 * 1024;
/** About what a frame's figures take. */
const HEADER_BYTES = 256;

interface Waiting {
  readonly messages: Map<string, BusMessage>;
  bytes: number;
  putAt: number;
}

export class FrameOutbox {
  /** By generation, in the order in which they began to wait: whoever publishes most does not overtake, nor wait for ever. */
  private readonly waiting = new Map<string, Waiting>();
  private bytes = 0;

  /** @param onDrop a message gave way to a newer one, or to want of room or time */
  constructor(private readonly onDrop: () => void = () => {}) {}

  /** Of a slot the newest stays; beyond the bytes, those that wait longest go. */
  put(message: BusMessage): void {
    const size = sizeOf(message);
    if (size > MAX_MESSAGE_BYTES) return;
    const { generationId } = message;
    const waiting = this.waiting.get(generationId) ?? { messages: new Map<string, BusMessage>(), bytes: 0, putAt: 0 };
    const slot = message.kind === "milestone" ? message.kind : slotOf(message);
    const known = waiting.messages.get(slot);
    if (known !== undefined) this.onDrop();
    const added = size - (known === undefined ? 0 : sizeOf(known));
    waiting.messages.delete(slot); // so that it comes after what was published before it
    waiting.messages.set(slot, message);
    waiting.bytes += added;
    waiting.putAt = performance.now();
    this.waiting.set(generationId, waiting);
    this.bytes += added;
    for (const oldest of this.waiting.keys()) {
      if (this.bytes <= MAX_OUTBOX_BYTES) return;
      this.drop(oldest);
    }
  }

  /** At least one generation's messages when there are any, and no more once there are `bytes`. */
  take(bytes: number): readonly BusMessage[] {
    const taken: BusMessage[] = [];
    const limit = performance.now() - NEWEST_FRAME_SECONDS * 1000;
    let left = bytes;
    for (const [generationId, waiting] of this.waiting) {
      if (left <= 0) break;
      if (waiting.putAt < limit) {
        this.drop(generationId); // the bus was away so long
        continue;
      }
      this.remove(generationId);
      taken.push(...waiting.messages.values());
      left -= waiting.bytes;
    }
    return taken;
  }

  private drop(generationId: string): void {
    for (const _ of this.waiting.get(generationId)?.messages.keys() ?? []) this.onDrop();
    this.remove(generationId);
  }

  private remove(generationId: string): void {
    this.bytes -= this.waiting.get(generationId)?.bytes ?? 0;
    this.waiting.delete(generationId);
  }
}

function sizeOf(message: BusMessage): number {
  if (message.kind === "preview") return HEADER_BYTES + message.webp.byteLength;
  return HEADER_BYTES + (message.kind === "text" ? Buffer.byteLength(message.text) : 0);
}
