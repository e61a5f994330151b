/**
 * How much every caller may ask for: a leaky bucket of query cost each, refilled at a constant rate. Kept in memory, so each
 * process of several allows its share.
 */
import type { Clock } from "../platform/clock.ts";

export interface RateLimitState {
  /** Cost that a full bucket holds. */
  readonly limit: number;
  readonly remaining: number;
  readonly restorePerSecond: number;
  /** When the bucket is full again. */
  readonly resetAt: Date;
}

export interface Spending extends RateLimitState {
  /** How long to wait until this cost is there; undefined when it was, and was taken. */
  readonly retryAfterMs: number | undefined;
}

export interface BucketOptions {
  readonly clock: Clock;
  readonly limit: number;
  readonly restorePerSecond: number;
}

interface Level {
  /** What was taken and is not restored yet. */
  readonly taken: number;
  /** Milliseconds since 1970. */
  readonly at: number;
}

/** Buckets that are looked at between two sweeps of full ones. */
const SWEEP_EVERY = 10_000;

export class CostBuckets {
  private readonly levels = new Map<string, Level>();
  private untilSweep = SWEEP_EVERY;

  constructor(private readonly options: BucketOptions) {}

  /** Takes the cost of an operation out of a caller's bucket, or nothing when it is not there. */
  spend(caller: string, cost: number): Spending {
    const { limit, restorePerSecond } = this.options;
    const { taken, at } = this.levelOf(caller);
    const missing = taken + cost - limit;
    if (missing > 0) return { ...this.state(caller), retryAfterMs: Math.ceil((missing / restorePerSecond) * 1000) };
    this.levels.set(caller, { taken: taken + cost, at });
    this.sweep();
    return { ...this.state(caller), retryAfterMs: undefined };
  }

  state(caller: string): RateLimitState {
    const { limit, restorePerSecond } = this.options;
    const { taken, at } = this.levelOf(caller);
    const resetAt = new Date(at + (taken / restorePerSecond) * 1000);
    return { limit, remaining: Math.floor(limit - taken), restorePerSecond, resetAt };
  }

  private levelOf(caller: string): Level {
    const now = this.options.clock.now().getTime();
    const { taken, at } = this.levels.get(caller) ?? { taken: 0, at: now };
    return { taken: Math.max(0, taken - ((now - at) / 1000) * this.options.restorePerSecond), at: now };
  }

  /** Callers that were away long enough are as good as new ones. */
  private sweep(): void {
    if (--this.untilSweep > 0) return;
    this.untilSweep = SWEEP_EVERY;
    for (const caller of this.levels.keys()) if (this.levelOf(caller).taken === 0) this.levels.delete(caller);
  }
}
