/** Chooses where processes share what is not in the database: frames, one of the four adapters, and with them rate limits. */
import { type CostBuckets, shareOf } from "./api/cost-buckets.ts";
import { InProcessCostBuckets } from "./api/in-process-cost-buckets.ts";
import { RedisCostBuckets } from "./api/redis-cost-buckets.ts";
import type { Clock } from "./platform/clock.ts";
import type { Config } from "./platform/config.ts";
import type { Logger } from "./platform/logger.ts";
import type { Metrics } from "./platform/metrics.ts";
import { RedisConnection } from "./platform/redis.ts";
import type { FrameBus } from "./progress/frame-bus.ts";
import { InProcessFrameBus } from "./progress/in-process-frame-bus.ts";
import { RedisFrameBus } from "./progress/redis-frame-bus.ts";

const FRAMES_TIMEOUT_MS = 1000;
/** What operations wait at most when Redis falls silent; those after them do not. */
const RATE_LIMITS_TIMEOUT_MS = 500;

interface SharedState {
  readonly bus: FrameBus;
  readonly buckets: CostBuckets;
}

export function makeSharedState(
  { redisUrl: url, replicas, rateLimit }: Config,
  { clock, logger, metrics }: { readonly clock: Clock; readonly logger: Logger; readonly metrics: Metrics },
): SharedState {
  if (url === undefined) {
    const buckets = new InProcessCostBuckets({ clock, ...shareOf(rateLimit, replicas) });
    return { bus: new InProcessFrameBus(clock), buckets };
  }
  // One each, so that none waits behind the bytes of another.
  const connect = (purpose: string, timeoutMs: number) =>
    new RedisConnection({ url, purpose, timeoutMs, logger, metrics });
  const publisher = connect("publisher", FRAMES_TIMEOUT_MS);
  const connections = { publisher, subscriber: connect("subscriber", FRAMES_TIMEOUT_MS) };
  const bus = new RedisFrameBus(connections, () => metrics.framesDropped.inc({ at: "bus" }));
  const connection = connect("rate-limits", RATE_LIMITS_TIMEOUT_MS);
  return { bus, buckets: new RedisCostBuckets({ connection, clock, replicas, ...rateLimit }) };
}
