import type { Clock } from "../../src/platform/clock.ts";

/** The time of day, and what a test adds to it. */
export class ShiftedClock implements Clock {
  private shiftMs = 0;

  now(): Date {
    return new Date(Date.now() + this.shiftMs);
  }

  elapsedMs(): number {
    return performance.now() + this.shiftMs;
  }

  advance(ms: number): void {
    this.shiftMs += ms;
  }
}
