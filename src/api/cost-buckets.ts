/** How much every caller may ask for: a leaky bucket of query cost each, refilled at a constant rate. */

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

export interface RateLimit {
  readonly limit: number;
  readonly restorePerSecond: number;
}

export interface CostBuckets {
  /**
   * Takes the cost of an operation out of a caller's bucket, or nothing when it is not there. What costs more than a bucket
   * holds passes when the bucket is full, and is paid off before anything else.
   */
  spend(caller: string, cost: number): Promise<Spending>;
  state(caller: string): Promise<RateLimitState>;
  close(): void;
}

/** @param taken what was taken and is not restored yet */
export function stateOf({ limit, restorePerSecond }: RateLimit, taken: number, now: number): RateLimitState {
  const resetAt = new Date(now + (taken / restorePerSecond) * 1000);
  return { limit, remaining: Math.max(0, Math.floor(limit - taken)), restorePerSecond, resetAt };
}

/** @returns undefined when the cost is there */
export function waitFor({ limit, restorePerSecond }: RateLimit, taken: number, cost: number): number | undefined {
  const missing = taken + Math.min(cost, limit) - limit;
  return missing > 0 ? Math.ceil((missing / restorePerSecond) * 1000) : undefined;
}

/** What each of several processes may allow, when they cannot ask each other. */
export const shareOf = ({ limit, restorePerSecond }: RateLimit, processes: number): RateLimit => ({
  limit: Math.max(1, Math.floor(limit / processes)),
  restorePerSecond: Math.max(1, Math.floor(restorePerSecond / processes)),
});
