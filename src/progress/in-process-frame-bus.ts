import type { Clock } from "../platform/clock.ts";
import { type BusMessage, type Frame, isNewer, slotOf } from "./frame.ts";
import { type FrameBus, NEWEST_FRAME_SECONDS } from "./frame-bus.ts";

interface Kept {
  readonly frames: Map<string, Frame>;
  publishedAt: number;
}

/** For API and dispatcher in one process. */
export class InProcessFrameBus implements FrameBus {
  private readonly listeners = new Map<string, Set<(message: BusMessage) => void>>();
  /** In the order of the last publication, so that the oldest are dropped first. */
  private readonly kept = new Map<string, Kept>();

  constructor(private readonly clock: Clock) {}

  publish(message: BusMessage): void {
    if (message.kind !== "milestone") this.keep(message);
    for (const listener of this.listeners.get(message.generationId) ?? []) listener(message);
  }

  async subscribe(generationId: string, listener: (message: BusMessage) => void): Promise<() => void> {
    const listeners = this.listeners.get(generationId) ?? new Set();
    this.listeners.set(generationId, listeners.add(listener));
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0) this.listeners.delete(generationId);
    };
  }

  async newest(generationId: string): Promise<readonly Frame[]> {
    this.dropOld();
    return [...(this.kept.get(generationId)?.frames.values() ?? [])];
  }

  async close(): Promise<void> {
    this.listeners.clear();
    this.kept.clear();
  }

  private keep(frame: Frame): void {
    const kept = this.kept.get(frame.generationId) ?? { frames: new Map<string, Frame>(), publishedAt: 0 };
    const known = kept.frames.get(slotOf(frame));
    if (known !== undefined && !isNewer(frame, known)) return;
    kept.frames.set(slotOf(frame), frame);
    kept.publishedAt = this.clock.elapsedMs();
    this.kept.delete(frame.generationId);
    this.kept.set(frame.generationId, kept);
    this.dropOld();
  }

  private dropOld(): void {
    const limit = this.clock.elapsedMs() - NEWEST_FRAME_SECONDS * 1000;
    for (const [generationId, { publishedAt }] of this.kept) {
      if (publishedAt > limit) return;
      this.kept.delete(generationId);
    }
  }
}
