/**
 * What a subscriber has not been sent yet: the newest frame of every slot, and how far the milestones have come. Its size
 * is bounded by the number of slots, however slow the subscriber is.
 */
import { type BusMessage, type Frame, isNewer, slotOf } from "../progress/frame.ts";

export class EventMailbox {
  /** The newest frame of every slot, sent or not, so that an older one is never sent after it. */
  private readonly newest = new Map<string, Frame>();
  private readonly unsent = new Set<string>();
  private newestSeq = 0;
  private isClosed = false;
  private wake: (() => void) | undefined;

  /** @param onDrop a frame gave way to a newer one before it was sent */
  constructor(private readonly onDrop: () => void = () => {}) {}

  receive(message: BusMessage): void {
    this.noteSeq(message.seq);
    if (message.kind === "milestone") return;
    const slot = slotOf(message);
    const known = this.newest.get(slot);
    if (known !== undefined && !isNewer(message, known)) return;
    this.newest.set(slot, message);
    if (this.unsent.has(slot)) this.onDrop();
    this.unsent.add(slot);
    this.wake?.();
  }

  /** Milestones up to this one are committed. */
  noteSeq(seq: number): void {
    if (seq <= this.newestSeq) return;
    this.newestSeq = seq;
    this.wake?.();
  }

  /** Nobody waits any more. */
  close(): void {
    this.isClosed = true;
    this.wake?.();
  }

  hasMilestoneAfter(seq: number): boolean {
    return this.newestSeq > seq;
  }

  /** Unsent frames that follow the milestone `seq`, oldest first. Older ones are dropped, later ones wait for theirs. */
  takeFrames(seq: number): readonly Frame[] {
    const due: Frame[] = [];
    for (const slot of this.unsent) {
      const frame = this.newest.get(slot);
      if (frame === undefined || frame.seq > seq) continue;
      this.unsent.delete(slot);
      if (frame.seq === seq) due.push(frame);
    }
    return due.sort((a, b) => (isNewer(a, b) ? 1 : -1));
  }

  /** Resolves when there is something that a subscriber who has had the milestones up to `seq` has not been sent. */
  async wait(seq: number): Promise<void> {
    while (this.unsent.size === 0 && !this.hasMilestoneAfter(seq) && !this.isClosed) {
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
      this.wake = undefined;
    }
  }
}
