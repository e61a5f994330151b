import { describe, expect, test } from "vitest";
import { asPlatform, asTenant } from "../../src/platform/access.ts";
import type { Database } from "../../src/platform/database.ts";
import { newId } from "../../src/platform/ids.ts";
import { sumMinutes } from "../../src/scheduler/fairness.store.ts";
import { bucketOf, coveredMs, quantileMs, sharesOf } from "../../src/scheduler/fairness.ts";
import { FairnessDuty } from "../../src/scheduler/fairness-duty.ts";
import { insertTenant } from "../../src/tenancy/tenancy.store.ts";
import { DRAWING } from "../support/drawing-settings.ts";
import { databasesHere } from "../support/test-database.ts";

const demand = (tenantId: string, receivedMs: number, waitedMs: number, weight = 1) => ({
  tenantId,
  weight,
  receivedMs,
  waitedMs,
});

describe("a minute", () => {
  test("is divided by weights among those with demand; who had nothing waiting lends, and who took more borrows that", () => {
    const shares = sharesOf([demand("light", 1000, 0), demand("flood", 59_000, 60_000)]);
    expect(shares).toEqual([
      { tenantId: "light", poolMs: 60_000, entitledMs: 30_000, receivedMs: 1000, lentMs: 29_000, borrowedMs: 0 },
      { tenantId: "flood", poolMs: 60_000, entitledMs: 30_000, receivedMs: 59_000, lentMs: 0, borrowedMs: 29_000 },
    ]);
    const [heavy, other] = sharesOf([demand("heavy", 45_000, 60_000, 3), demand("other", 15_000, 60_000)]);
    expect(heavy).toMatchObject({ entitledMs: 45_000, lentMs: 0, borrowedMs: 0 });
    expect(other).toMatchObject({ entitledMs: 15_000, lentMs: 0, borrowedMs: 0 });
  });

  test("in which somebody waited in vain was lent by nobody", () => {
    const shares = sharesOf([demand("waits", 0, 60_000), demand("runs", 60_000, 60_000)]);
    expect(shares.map(({ lentMs, borrowedMs }) => [lentMs, borrowedMs])).toEqual([
      [0, 0],
      [0, 0],
    ]);
  });

  test("is covered once by what overlaps", () => {
    const spans = [
      { from: 5, to: 10 },
      { from: -5, to: 3 },
      { from: 8, to: 30 },
    ];
    expect(coveredMs({ from: 0, to: 20 }, spans)).toBe(18);
  });

  test("keeps waits to about a tenth", () => {
    const buckets: number[] = Array.from({ length: 101 }, () => 0);
    for (const ms of [0, ...Array.from({ length: 18 }, () => 1000), 60_000]) buckets[bucketOf(ms)]!++;
    expect(quantileMs(buckets, 0.05)).toBe(0);
    expect(Math.abs(quantileMs(buckets, 0.5)! / 1000 - 1)).toBeLessThan(0.13);
    expect(Math.abs(quantileMs(buckets, 1)! / 60_000 - 1)).toBeLessThan(0.13);
    expect(quantileMs([], 0.5)).toBeUndefined();
  });
});

describe.each(databasesHere())("the accounts of a pool in $name", ({ create }) => {
  test("have every minute that is over once, also those in which no server ran", async () => {
    const { db, close } = await create();
    const [light, flood] = await db.transaction(asPlatform, async (tx) => [
      await insertTenant(tx, "light"),
      await insertTenant(tx, "flood"),
    ]);
    const [{ begin }] = await db.transaction(
      asPlatform,
      (tx) => tx.$queryRaw<[{ begin: Date }]>`select date_trunc('minute', now()) - interval '5 minutes' as begin`,
    );
    const at = (seconds: number): Date => new Date(begin.getTime() + seconds * 1000);
    await db.transaction(asPlatform, (tx) =>
      tx.pool.create({ data: { name: "local", presets: [], accountedUntil: begin } }),
    );
    await ran(db, light!, { queuedAt: at(10), startedAt: at(12), endedAt: at(18), share: 1 });
    await ran(db, flood!, { queuedAt: at(-600), startedAt: at(18), endedAt: at(90), share: 0.5 });
    await queued(db, flood!, at(-500));

    const duty = new FairnessDuty({ db });
    expect(await duty.runOnce()).toBeGreaterThanOrEqual(4);
    const again = await duty.runOnce();
    expect(again).toBeLessThanOrEqual(1);
    const sumOf = (tenantId: string) => db.transaction(asTenant(tenantId), (tx) => sumMinutes(tx, tenantId, 1));
    // First minute: 6 s of one, 21 s of the other; second one: 15 s of the other alone.
    const lights = await sumOf(light!);
    expect(lights).toMatchObject({ poolMs: 27_000, entitledMs: 13_500, receivedMs: 6000, borrowedMs: 0 });
    expect(lights.lentMs).toBeCloseTo(7500 * (58 / 60));
    expect(Math.abs(quantileMs(lights.waits, 0.5)! / 2000 - 1)).toBeLessThan(0.13);
    const floods = await sumOf(flood!);
    expect(floods).toMatchObject({ poolMs: 42_000, entitledMs: 28_500, receivedMs: 36_000, lentMs: 0 });
    expect(floods.borrowedMs).toBeCloseTo(lights.lentMs);
    await close();
  });
});

const generation = (tenantId: string, queuedAt: Date) => ({
  ...{ id: newId(), tenantId, userId: newId(), pool: "local", preset: "tiny", task: "TEXT_TO_IMAGE" as const },
  ...{ priority: "STANDARD" as const, settings: { ...DRAWING, prompt: "" }, totalSteps: 18, createdAt: queuedAt },
});

const queued = (db: Database, tenantId: string, queuedAt: Date) =>
  db.transaction(asPlatform, (tx) => tx.generation.create({ data: generation(tenantId, queuedAt) }));

const ran = (
  db: Database,
  tenantId: string,
  { queuedAt, ...attempt }: { queuedAt: Date; startedAt: Date; endedAt: Date; share: number },
) =>
  db.transaction(asPlatform, async (tx) => {
    const row = { ...generation(tenantId, queuedAt), state: "SUCCEEDED" as const, finishedAt: queuedAt };
    await tx.generation.create({ data: row });
    const run = { ...attempt, tenantId, number: 1, leaseId: newId(), worker: "test", outcome: "SUCCEEDED" as const };
    await tx.attempt.create({ data: { ...run, generationId: row.id } });
  });
