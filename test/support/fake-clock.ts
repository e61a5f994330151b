import type { Clock } from "../../src/platform/clock.ts";

/** Stands still until it is advanced. */
export class FakeClock implements Clock {
  private time = Date.parse("2026-01-01T00:00:00Z");

  now(): Date {
    return new Date(this.time);
  }

  elapsedMs(): number {
    return this.time;
  }

  advance(ms: number): void {
    this.time += ms;
  }
}
