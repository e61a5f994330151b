/** Events between a fast producer and a slow consumer: nothing is lost but frames that a newer one has overtaken. */
import type { RunEvent } from "./compute-protocol.ts";

export class EventQueue {
  private readonly events: RunEvent[] = [];
  private wake: (() => void) | undefined;

  push(event: RunEvent): void {
    const newest = this.events.at(-1);
    if (newest?.kind === "frame" && event.kind === "frame") this.events.pop();
    this.events.push(event);
    this.wake?.();
  }

  /** The next event, waited for at most `waitMs`; undefined when none came. */
  async next(waitMs: number): Promise<RunEvent | undefined> {
    if (this.events.length === 0) await this.waitForEvent(waitMs);
    return this.events.shift();
  }

  private async waitForEvent(waitMs: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.wake = resolve;
      timer = setTimeout(resolve, waitMs);
    });
    clearTimeout(timer);
    this.wake = undefined;
  }
}
