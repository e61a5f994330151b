import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { takeIn } from "../../src/generation/intake.store.ts";
import { asPlatform } from "../../src/platform/access.ts";
import type { Database } from "../../src/platform/database.ts";
import { newId } from "../../src/platform/ids.ts";
import { QuotaService } from "../../src/quota/quota.service.ts";
import { effortOf, formatCredits, priceOf } from "../../src/quota/tariff.ts";
import { insertMember, insertTenant } from "../../src/tenancy/tenancy.store.ts";
import { expectBalancedLedger } from "../support/ledger.ts";
import { candidateFor } from "../support/payers.ts";
import { createTestDatabase } from "../support/test-database.ts";

test("prices count pixels, pictures and steps, exactly", () => {
  const work = { width: 1024, height: 1024, count: 4, steps: 32 };
  expect(priceOf(work, 1)).toBe(134_217_728n);
  expect(effortOf(work, 8)).toBe(33_554_432n);
  expect(effortOf(work, 0)).toBe(0n);
  expect(effortOf(work, 99)).toBe(effortOf(work));
  expect(effortOf(work)).toBe(priceOf(work, 1));
});

test("prices are multiplied by the factor of the preset, and rounded up", () => {
  const work = { width: 3, height: 1, count: 1, steps: 1 };
  expect([0, 0.001, 0.5, 1, 2.5, 40].map((factor) => priceOf(work, factor))).toEqual([0n, 1n, 2n, 3n, 8n, 120n]);
});

test("credits are written with up to six decimals", () => {
  expect([0n, 1n, 165_888n, 1_000_000n, -1_500_000n, 10n ** 15n].map(formatCredits)).toEqual([
    "0",
    "0.000001",
    "0.165888",
    "1",
    "-1.5",
    "1000000000",
  ]);
});

describe("credits of a tenant", () => {
  let database: Awaited<ReturnType<typeof createTestDatabase>>;
  let db: Database;
  const quota = new QuotaService();

  beforeAll(async () => {
    database = await createTestDatabase();
    db = database.db;
  });
  afterAll(async () => {
    await expectBalancedLedger(db);
    await database.close();
  });

  async function setup(credits: bigint) {
    const { tenantId, userId } = await db.transaction(asPlatform, async (tx) => {
      const tenantId = await insertTenant(tx, "test");
      await quota.grant(tx, tenantId, { credits, reason: "test" });
      return {
        tenantId,
        userId: await insertMember(tx, { tenantId, role: "MEMBER", name: "test", isPlatformAdmin: false }),
      };
    });
    const reserve = async (credits: bigint): Promise<string> => {
      const id = newId();
      await db.transaction(asPlatform, async (tx) => {
        const payer = { tenantId, userId, apiKeyId: null };
        const [intake] = await takeIn(tx, tenantId, [candidateFor(payer, id, { credits, pixels: 0n })]);
        if (intake === undefined || !("row" in intake)) throw new Error("refused");
      });
      return id;
    };
    const settle = (id: string, done: bigint, whole: bigint) =>
      db.transaction(asPlatform, async (tx) => {
        await quota.settle(tx, id, { done, whole, reason: "test" });
        await tx.generation.update({ where: { id }, data: { state: "SUCCEEDED", finishedAt: new Date() } });
      });
    const limit = () => db.transaction(asPlatform, (tx) => tx.limit.findFirstOrThrow({ where: { tenantId } }));
    return { tenantId, reserve, settle, limit };
  }

  test("are held, then charged, and what is not charged is free again", async () => {
    const { reserve, settle, limit } = await setup(100n);
    const id = await reserve(60n);
    expect(await limit()).toMatchObject({ max: 100n, used: 0n, held: 60n });
    await settle(id, 3n, 4n);
    expect(await limit()).toMatchObject({ used: 45n, held: 0n });
  });

  test("are never charged beyond what was held", async () => {
    const { reserve, settle, limit } = await setup(100n);
    await settle(await reserve(10n), 99n, 50n);
    expect(await limit()).toMatchObject({ used: 10n, held: 0n });
  });

  test("are charged as the share of what was done, in whole micro-credits", async () => {
    const { reserve, settle, limit } = await setup(100n);
    await settle(await reserve(10n), 1n, 3n);
    expect(await limit()).toMatchObject({ used: 4n, held: 0n });
    await settle(await reserve(10n), 0n, 3n);
    await settle(await reserve(0n), 3n, 3n);
    expect(await limit()).toMatchObject({ used: 4n, held: 0n });
  });

  test("are not overspent by attempts at the same time", async () => {
    const { reserve, limit } = await setup(50n);
    const outcomes = await Promise.allSettled(Array.from({ length: 40 }, () => reserve(3n)));
    expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(16);
    expect(await limit()).toMatchObject({ used: 0n, held: 48n });
  });

  test("are settled once", async () => {
    const { reserve, settle } = await setup(50n);
    const id = await reserve(3n);
    await settle(id, 1n, 1n);
    await expect(settle(id, 1n, 1n)).rejects.toThrow("ended twice");
  });
});
