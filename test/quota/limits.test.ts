import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { asPlatform } from "../../src/platform/access.ts";
import type { Database } from "../../src/platform/database.ts";
import type { DomainError } from "../../src/platform/errors.ts";
import { repairCounters } from "../../src/quota/limit.store.ts";
import { QuotaService } from "../../src/quota/quota.service.ts";
import { expectBalancedLedger } from "../support/ledger.ts";
import { addMemberPayer, addPayer } from "../support/payers.ts";
import { createTestDatabase } from "../support/test-database.ts";

describe("limits", () => {
  let database: Awaited<ReturnType<typeof createTestDatabase>>;
  let db: Database;

  beforeAll(async () => {
    database = await createTestDatabase();
    db = database.db;
  });
  afterEach(async () => {
    expect(await db.transaction(asPlatform, (tx) => repairCounters(tx))).toEqual([]);
    await expectBalancedLedger(db);
    await db.transaction(asPlatform, (tx) => tx.limit.deleteMany({ where: { level: "PLATFORM" } }));
  });
  afterAll(() => database.close());

  const refusal = async (refused: Promise<unknown>): Promise<any> => {
    const error = await refused.then(
      () => undefined,
      (thrown: DomainError) => thrown,
    );
    expect(error?.code).toBe("QUOTA_EXHAUSTED");
    return { ...error?.details.facts, retryable: error?.details.retryable, retryAfterMs: error?.details.retryAfterMs };
  };

  test("of credits in a calendar window begin anew with it, but not for what is held", async () => {
    const { limit, queue, start, finish, age, find } = await addPayer(db, 1000n);
    const day = { level: "MEMBER", kind: "CREDITS", window: "DAY" } as const;
    await limit(day, 100n);
    await finish((await start(await queue(60n)))!, 50n);
    await queue(30n);
    const { level, kind, limit: max, used, held, needed, available, resetsAt, retryable } = await refusal(queue(21n));
    expect({ level, kind, max, used, held, needed, available, retryable }).toEqual({
      level: "MEMBER",
      kind: "CREDITS",
      max: "0.0001",
      used: "0.00005",
      held: "0.00003",
      needed: "0.000021",
      available: "0.00002",
      retryable: true,
    });
    const midnight = new Date();
    midnight.setUTCHours(24, 0, 0, 0);
    expect(resetsAt).toEqual(midnight);
    await age(day, 24 * 3600);
    await queue(70n);
    expect(await find(day)).toMatchObject({ used: 0n, held: 100n });
    expect((await refusal(queue(1n))).resetsAt).toBeUndefined();
  });

  test("of a rolling window give back what was used a window ago, at most a twelfth later", async () => {
    const { limit, queue, start, finish, age } = await addPayer(db, 1000n);
    const hour = { level: "API_KEY", kind: "CREDITS", window: "HOUR", isRolling: true } as const;
    await limit(hour, 100n);
    await finish((await start(await queue(60n)))!, 60n);
    await age(hour, 1800);
    await finish((await start(await queue(40n)))!, 40n);
    await age(hour, 1790);
    const { retryAfterMs } = await refusal(queue(60n));
    expect(retryAfterMs).toBeGreaterThan(0);
    expect(retryAfterMs).toBeLessThanOrEqual(310_000);
    await age(hour, 310);
    const id = await queue(60n);
    await refusal(queue(1n));
    expect(id).toBeDefined();
  });

  test("of requests and pixels hold in any minute", async () => {
    const { limit, queue, age } = await addPayer(db, 1000n);
    const requests = { level: "MEMBER", kind: "REQUESTS_PER_MINUTE", window: "MINUTE", isRolling: true } as const;
    const pixels = { level: "TENANT", kind: "PIXELS_PER_MINUTE", window: "MINUTE", isRolling: true } as const;
    await limit(requests, 3n);
    await limit(pixels, 1000n);
    for (let i = 0; i < 2; i++) await queue(1n, 500n);
    expect(await refusal(queue(1n, 1n))).toMatchObject({ level: "TENANT", kind: "PIXELS_PER_MINUTE", retryable: true });
    expect(await refusal(queue(1n, 1001n))).toMatchObject({ kind: "PIXELS_PER_MINUTE", retryable: false });
    await queue(1n, 0n);
    expect(await refusal(queue(1n, 0n))).toMatchObject({ level: "MEMBER", kind: "REQUESTS_PER_MINUTE", needed: "1" });
    await age(requests, 66);
    await age(pixels, 66);
    await queue(1n, 1000n);
  });

  test("of what is queued and runs follow every transition, on every level that has one", async () => {
    const { limit, queue, start, finish, cancel, find, payer } = await addPayer(db, 1000n);
    const other = await addMemberPayer(db, payer.tenantId);
    const early = await queue(1n);
    for (const level of ["PLATFORM", "TENANT", "MEMBER"] as const) {
      await limit({ level, kind: "RUNNING" }, level === "MEMBER" ? 1n : 2n);
      await limit({ level, kind: "QUEUED" }, level === "PLATFORM" ? 100n : 3n);
    }
    const held = async (level: "PLATFORM" | "TENANT" | "MEMBER") => [
      (await find({ level, kind: "QUEUED" }))?.held,
      (await find({ level, kind: "RUNNING" }))?.held,
    ];
    expect(await held("TENANT")).toEqual([1n, 0n]); // counted when it was set
    const fence = await start(early);
    expect(await held("TENANT")).toEqual([0n, 1n]);
    const second = await queue(1n);
    expect(await start(second)).toBeUndefined(); // the member's limit
    const theirs = await other.start(await other.queue(1n));
    expect((await held("PLATFORM"))[1]).toBe(2n);
    await queue(1n);
    await other.queue(1n);
    expect(await refusal(other.queue(1n))).toMatchObject({
      level: "TENANT",
      kind: "QUEUED",
      held: "3",
      retryable: true,
    });
    await finish(fence!, 1n);
    await cancel(second);
    expect(await held("TENANT")).toEqual([2n, 1n]);
    expect(await held("MEMBER")).toEqual([1n, 0n]);
    await finish(theirs!, 1n, "FAILED");
    expect((await held("PLATFORM"))[1]).toBe(0n);
  });

  test("of what waits have room for more once something runs, of whichever tenant", async () => {
    const first = await addPayer(db, 1000n);
    const second = await addPayer(db, 1000n);
    const running = [await first.queue(1n), await second.queue(1n)];
    const queued = { level: "PLATFORM", kind: "QUEUED" } as const;
    await first.limit(queued, 1000n);
    const max = (await first.find(queued))!.held + 1n; // others have left some here
    await first.limit(queued, max);
    await first.queue(1n);
    const full = { level: "PLATFORM", held: String(max), available: "0" };
    expect(await refusal(second.queue(1n))).toMatchObject(full);
    expect(await second.start(running[1]!)).toBeDefined();
    await first.queue(1n);
    expect(await refusal(first.queue(1n))).toMatchObject(full);
    expect(await first.start(running[0]!)).toBeDefined();
    expect(await first.find(queued)).toMatchObject({ held: max - 1n });
    await second.queue(1n);
    await refusal(second.queue(1n));
  });

  test("of storage refuse new work that stores, and count what is stored", async () => {
    const { limit, queue, start, finish, find } = await addPayer(db, 1000n);
    const storage = { level: "TENANT", kind: "STORAGE_BYTES" } as const;
    await limit(storage, 150n);
    for (let i = 0; i < 2; i++) await finish((await start(await queue(1n, 1n)))!, 1n);
    expect((await find(storage))?.used).toBe(200n); // what ran is stored
    expect(await refusal(queue(1n, 1n))).toMatchObject({ kind: "STORAGE_BYTES", available: "0", retryable: false });
    await queue(1n, 0n); // an answer stores nothing
    await db.transaction(asPlatform, (tx) => tx.limit.deleteMany({ where: { kind: "STORAGE_BYTES" } }));
  });

  test("refuse all or nothing: a refusal counts nowhere", async () => {
    const { limit, queue, find } = await addPayer(db, 10n);
    await limit({ level: "TENANT", kind: "QUEUED" }, 5n);
    await limit({ level: "MEMBER", kind: "CREDITS", window: "MONTH" }, 100n);
    expect(await refusal(queue(11n))).toMatchObject({ level: "TENANT", kind: "CREDITS" });
    expect(await find({ level: "TENANT", kind: "QUEUED" })).toMatchObject({ held: 0n });
    expect(await find({ level: "MEMBER", kind: "CREDITS", window: "MONTH" })).toMatchObject({ held: 0n });
  });

  test("name the one that makes the caller wait longest, and of equals the narrowest", async () => {
    const { limit, queue } = await addPayer(db, 1000n);
    await limit({ level: "TENANT", kind: "CREDITS", window: "MONTH" }, 10n);
    await limit({ level: "API_KEY", kind: "CREDITS", window: "DAY" }, 10n);
    await queue(8n);
    expect(await refusal(queue(20n))).toMatchObject({ level: "API_KEY", retryable: false });
    await limit({ level: "API_KEY", kind: "REQUESTS_PER_MINUTE", window: "MINUTE", isRolling: true }, 0n);
    await limit({ level: "API_KEY", kind: "CREDITS", window: "DAY" }, 100n);
    expect(await refusal(queue(5n))).toMatchObject({ kind: "REQUESTS_PER_MINUTE" }); // never lets anything through
  });

  test("let the items of a batch wait instead of refusing them", async () => {
    const { limit, payer } = await addPayer(db, 1000n);
    const feed = (...pixels: bigint[]) =>
      db.transaction(asPlatform, (tx) => new QuotaService().feed(tx, payer, pixels));
    await limit({ level: "MEMBER", kind: "PIXELS_PER_MINUTE", window: "MINUTE", isRolling: true }, 100n);
    expect(await feed(40n, 40n, 40n)).toBe(2);
    expect(await feed(40n)).toBe(0);
    expect(await feed(20n)).toBe(1);
    const large = await addPayer(db, 1000n);
    await large.limit({ level: "MEMBER", kind: "PIXELS_PER_MINUTE", window: "MINUTE", isRolling: true }, 100n);
    const feedLarge = () => db.transaction(asPlatform, (tx) => new QuotaService().feed(tx, large.payer, [400n, 400n]));
    expect([await feedLarge(), await feedLarge()]).toEqual([1, 0]); // larger than the rate: one at a time
  });

  test("that are wrong are found and mended from the rows", async () => {
    const { limit, queue, find } = await addPayer(db, 1000n);
    const running = { level: "MEMBER", kind: "RUNNING" } as const;
    const queued = { level: "MEMBER", kind: "QUEUED" } as const;
    await limit(running, 5n);
    await limit(queued, 5n);
    await queue(1n);
    await db.transaction(
      asPlatform,
      (tx) => tx.$executeRaw`update limits set held = held + 2 where kind in ('RUNNING', 'QUEUED')`,
    );
    const wrong = await db.transaction(asPlatform, (tx) => repairCounters(tx));
    expect(wrong.map(({ kind, counted, actual }) => ({ kind, counted, actual }))).toEqual(
      expect.arrayContaining([
        { kind: "RUNNING", counted: 2n, actual: 0n },
        { kind: "QUEUED", counted: 3n, actual: 1n },
      ]),
    );
    expect([(await find(running))?.held, (await find(queued))?.held]).toEqual([0n, 1n]);
  });
});
