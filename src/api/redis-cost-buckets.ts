/**
 * One bucket for all processes, in Redis. While Redis is away, each process allows its share of the limit, and goes on from
 * what it knows to be taken: whoever had nothing left has nothing left.
 */
import type { Clock } from "../platform/clock.ts";
import type { RedisConnection } from "../platform/redis.ts";
import {
  type CostBuckets,
  type RateLimit,
  type RateLimitState,
  type Spending,
  shareOf,
  stateOf,
  waitFor,
} from "./cost-buckets.ts";
import { InProcessCostBuckets } from "./in-process-cost-buckets.ts";

const BUCKET = "atelier:bucket:";

/**
 * A bucket is stored as the time when it is full again, in microseconds of the server's clock, and is gone by then.
 * The rule is `waitFor` of cost-buckets.ts; the answer is what was taken before, as text because Lua's numbers lose their
 * decimals.
 */
const SPEND = `
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local limit, perSecond, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local fullAt = math.max(now, tonumber(redis.call('GET', KEYS[1]) or 0))
local taken = (fullAt - now) * perSecond / 1000000
if cost > 0 and taken + math.min(cost, limit) <= limit then
  fullAt = fullAt + cost / perSecond * 1000000
  redis.call('SET', KEYS[1], string.format('%.0f', fullAt), 'PX', math.ceil((fullAt - now) / 1000))
end
return string.format('%.6f', taken)`;

export interface RedisCostBucketsOptions extends RateLimit {
  /** Closed with the buckets. */
  readonly connection: RedisConnection;
  readonly clock: Clock;
  /** Processes that share the limit. */
  readonly replicas: number;
}

export class RedisCostBuckets implements CostBuckets {
  private readonly ownShare: InProcessCostBuckets;

  constructor(private readonly options: RedisCostBucketsOptions) {
    this.ownShare = new InProcessCostBuckets({ ...shareOf(options, options.replicas), clock: options.clock });
  }

  async spend(caller: string, cost: number): Promise<Spending> {
    const before = await this.takenBefore(caller, cost);
    if (before === undefined) return this.ownShare.spend(caller, cost);
    const retryAfterMs = waitFor(this.options, before, cost);
    const taken = retryAfterMs === undefined ? before + cost : before;
    this.ownShare.note(caller, taken / this.options.replicas);
    return { ...stateOf(this.options, taken, this.now()), retryAfterMs };
  }

  async state(caller: string): Promise<RateLimitState> {
    const taken = await this.takenBefore(caller, 0);
    return taken === undefined ? this.ownShare.state(caller) : stateOf(this.options, taken, this.now());
  }

  close(): void {
    this.options.connection.close();
  }

  /** @returns undefined when Redis does not say */
  private async takenBefore(caller: string, cost: number): Promise<number | undefined> {
    const { connection, limit, restorePerSecond } = this.options;
    try {
      const taken = await connection.ask((client) =>
        client.eval(SPEND, 1, BUCKET + caller, limit, restorePerSecond, cost),
      );
      return Number(taken);
    } catch {
      return undefined; // the connection has told it
    }
  }

  private now(): number {
    return this.options.clock.now().getTime();
  }
}
