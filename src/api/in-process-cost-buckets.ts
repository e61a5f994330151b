import type { Clock } from "../platform/clock.ts";
import {
  type CostBuckets,
  type RateLimit,
  type RateLimitState,
  type Spending,
  stateOf,
  waitFor,
} from "./cost-buckets.ts";

interface Level {
  /** What was taken and is not restored yet. */
  readonly taken: number;
  /** By the clock's elapsed milliseconds. */
  readonly at: number;
}

/** Buckets that are looked at between two sweeps of full ones. */
const SWEEP_EVERY = 10_000;

/** In memory: each process of several allows what it was told. */
export class InProcessCostBuckets implements CostBuckets {
  private readonly levels = new Map<string, Level>();
  private untilSweep = SWEEP_EVERY;

  constructor(private readonly options: RateLimit & { readonly clock: Clock }) {}

  async spend(caller: string, cost: number): Promise<Spending> {
    const { taken } = this.levelOf(caller);
    const retryAfterMs = waitFor(this.options, taken, cost);
    if (retryAfterMs !== undefined) return { ...this.told(taken), retryAfterMs };
    this.note(caller, taken + cost);
    return { ...this.told(taken + cost), retryAfterMs };
  }

  async state(caller: string): Promise<RateLimitState> {
    return this.told(this.levelOf(caller).taken);
  }

  /** What was taken is known from elsewhere. */
  note(caller: string, taken: number): void {
    this.levels.set(caller, { taken, at: this.now() });
    this.sweep();
  }

  close(): void {
    this.levels.clear();
  }

  private levelOf(caller: string): Level {
    const now = this.now();
    const { taken, at } = this.levels.get(caller) ?? { taken: 0, at: now };
    return { taken: Math.max(0, taken - ((now - at) / 1000) * this.options.restorePerSecond), at: now };
  }

  /** Callers that were away long enough are as good as new ones. */
  private sweep(): void {
    if (--this.untilSweep > 0) return;
    this.untilSweep = SWEEP_EVERY;
    for (const caller of this.levels.keys()) if (this.levelOf(caller).taken === 0) this.levels.delete(caller);
  }

  private told(taken: number): RateLimitState {
    return stateOf(this.options, taken, this.options.clock.now().getTime());
  }

  private now(): number {
    return this.options.clock.elapsedMs();
  }
}
