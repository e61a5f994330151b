import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { CostBuckets } from "../../src/api/cost-buckets.ts";

export interface CostBucketsUnderTest {
  readonly buckets: CostBuckets;
  pass(ms: number): Promise<void>;
}

/** So slow that the time of a test does not matter. */
export const LIMIT = { limit: 100, restorePerSecond: 0.1 };

/** What buckets must do wherever they are kept. */
export function costBucketsConformance(name: string, create: () => Promise<CostBucketsUnderTest>): void {
  describe(`${name} are cost buckets`, () => {
    let subject: CostBucketsUnderTest;
    let buckets: CostBuckets;

    beforeEach(async () => {
      subject = await create();
      buckets = subject.buckets;
    });
    afterEach(() => buckets.close());

    test("a caller who is new has everything", async () => {
      expect(await buckets.state("new")).toMatchObject({ remaining: 100, ...LIMIT });
    });

    test("gives what is there to each caller, and refuses the rest with the time to wait", async () => {
      expect(await buckets.spend("one", 60)).toMatchObject({ remaining: 40, retryAfterMs: undefined });
      const refused = await buckets.spend("one", 50);
      expect(refused.remaining).toBe(40);
      expect(refused.retryAfterMs).toBeGreaterThan(95_000);
      expect(refused.retryAfterMs).toBeLessThanOrEqual(100_000);
      expect(await buckets.spend("one", 40)).toMatchObject({ remaining: 0, retryAfterMs: undefined });
      expect(await buckets.spend("other", 100)).toMatchObject({ remaining: 0, retryAfterMs: undefined });
    });

    test("comes back with time, until it is full", async () => {
      await buckets.spend("one", 100);
      await subject.pass(200_000);
      expect(await buckets.spend("one", 15)).toMatchObject({ remaining: 5, retryAfterMs: undefined });
      await subject.pass(2_000_000);
      expect(await buckets.state("one")).toMatchObject({ remaining: 100 });
    });

    test("lets more than a bucket holds pass when it is full, to be paid off first", async () => {
      expect(await buckets.spend("one", 150)).toMatchObject({ remaining: 0, retryAfterMs: undefined });
      expect((await buckets.spend("one", 150)).retryAfterMs).toBeGreaterThan(1_490_000);
      await subject.pass(510_000);
      expect(await buckets.spend("one", 1)).toMatchObject({ remaining: 0, retryAfterMs: undefined });
    });

    test("tells when everything is back", async () => {
      const before = (await buckets.state("one")).resetAt.getTime();
      const { resetAt } = await buckets.spend("one", 50);
      expect(resetAt.getTime() - before).toBeGreaterThan(490_000);
      expect(resetAt.getTime() - before).toBeLessThan(510_000);
    });

    test("many operations at once get what is there, and no more", async () => {
      const spent = await Promise.all(Array.from({ length: 30 }, () => buckets.spend("one", 10)));
      expect(spent.filter(({ retryAfterMs }) => retryAfterMs === undefined)).toHaveLength(10);
    });
  });
}
