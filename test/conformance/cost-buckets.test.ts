import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { InProcessCostBuckets } from "../../src/api/in-process-cost-buckets.ts";
import { RedisCostBuckets } from "../../src/api/redis-cost-buckets.ts";
import { systemClock } from "../../src/platform/clock.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { connect, hasRedis, RedisServer } from "../support/redis-server.ts";
import { until } from "../support/until.ts";
import { costBucketsConformance, LIMIT } from "./cost-buckets.ts";

costBucketsConformance("buckets in a process", async () => {
  const clock = new FakeClock();
  return { buckets: new InProcessCostBuckets({ clock, ...LIMIT }), pass: async (ms) => clock.advance(ms) };
});

describe.runIf(hasRedis)("Redis", () => {
  let server: RedisServer;
  let databases = 0;

  beforeAll(async () => {
    server = await RedisServer.start();
  });
  afterAll(() => server.stop());

  const open = async (url: string, options: { limit: number; restorePerSecond: number; replicas: number }) => {
    const connection = await connect(url);
    return { connection, buckets: new RedisCostBuckets({ connection, clock: systemClock, ...options }) };
  };

  costBucketsConformance("buckets in Redis", async () => {
    const url = `${server.url}/${databases++}`;
    const { buckets } = await open(url, { ...LIMIT, replicas: 1 });
    return { buckets, pass: (ms) => server.pass(url, ms) };
  });

  test("processes share a bucket; while Redis is away, each has its share and knows what was taken", async () => {
    const own = await RedisServer.start();
    const options = { limit: 1000, restorePerSecond: 2, replicas: 2 };
    const [first, second] = [await open(own.url, options), await open(own.url, options)];
    const isUp = (expected: boolean) =>
      until(() => expect([first.connection.isUp, second.connection.isUp]).toEqual([expected, expected]));
    try {
      await first.buckets.spend("greedy", 1000);
      expect((await second.buckets.spend("greedy", 50)).retryAfterMs).toBeGreaterThan(0);
      expect((await second.buckets.spend("one", 400)).remaining).toBeGreaterThanOrEqual(600);
      expect((await first.buckets.spend("one", 400)).remaining).toBeLessThan(300);
      await own.kill();
      await isUp(false);
      for (const { buckets } of [first, second]) {
        const greedy = await buckets.spend("greedy", 50);
        expect(greedy).toMatchObject({ limit: 500, restorePerSecond: 1 });
        expect(greedy.retryAfterMs).toBeGreaterThan(0);
        expect(await buckets.spend("new", 500)).toMatchObject({ remaining: 0, retryAfterMs: undefined });
        expect((await buckets.spend("new", 100)).retryAfterMs).toBeGreaterThan(0);
      }
      expect((await first.buckets.state("one")).remaining).toBeLessThan(150); // half of what the whole bucket had left
      await own.restart();
      await isUp(true);
      expect(await first.buckets.spend("new", 1000)).toMatchObject({ limit: 1000, retryAfterMs: undefined });
      expect((await second.buckets.spend("new", 100)).retryAfterMs).toBeGreaterThan(0);
    } finally {
      first.buckets.close();
      second.buckets.close();
      await own.stop();
    }
  });

  test("a Redis that falls silent is waited for once", async () => {
    const own = await RedisServer.start();
    const { buckets, connection } = await open(own.url, { limit: 1000, restorePerSecond: 2, replicas: 2 });
    try {
      own.freeze();
      expect(await buckets.spend("one", 10)).toMatchObject({ limit: 500, retryAfterMs: undefined });
      expect(connection.isUp).toBe(false);
      const startedAt = performance.now();
      for (let i = 0; i < 40; i++) await buckets.spend("one", 10);
      expect(performance.now() - startedAt).toBeLessThan(10_000); // forty times a second, if it were waited for each time
      own.thaw();
      await until(() => expect(connection.isUp).toBe(true));
      expect(await buckets.state("one")).toMatchObject({ limit: 1000 });
    } finally {
      buckets.close();
      await own.stop();
    }
  });
});

if (!hasRedis) test.skip("buckets in Redis: there is no Redis on this machine", () => {});
