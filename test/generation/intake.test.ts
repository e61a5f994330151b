import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { Principal } from "../../src/auth/principal.ts";
import type { CreateGenerationInput } from "../../src/generation/generation.input.ts";
import { GenerationService } from "../../src/generation/generation.service.ts";
import { GenerationLifecycle } from "../../src/generation/generation-lifecycle.ts";
import { Moderation } from "../../src/moderation/moderation.ts";
import { asPlatform } from "../../src/platform/access.ts";
import type { Database } from "../../src/platform/database.ts";
import { newId } from "../../src/platform/ids.ts";
import { createLogger } from "../../src/platform/logger.ts";
import { InProcessFrameBus } from "../../src/progress/in-process-frame-bus.ts";
import { findLimit, repairCounters, saveLimit } from "../../src/quota/limit.store.ts";
import { QuotaService } from "../../src/quota/quota.service.ts";
import { insertMember, insertTenant } from "../../src/tenancy/tenancy.store.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { expectBalancedLedger } from "../support/ledger.ts";
import { principalFor } from "../support/principals.ts";
import { databasesHere, type TestDatabase } from "../support/test-database.ts";
import { TINY_OFFER } from "../support/tiny-offer.ts";

/** Micro-credits of the picture that is asked for. */
const PRICE = 165_888n;
const none = { imageEdit: undefined, imageVariation: undefined, imageToText: undefined };
const TINY = { ...none, name: "tiny", textToImage: TINY_OFFER.textToImage, pool: "local", priceFactor: 1 };
/** No database stores the name of its pool. */
const UNSTORABLE = { ...TINY, name: "unstorable", pool: "\0" };

describe.each(databasesHere())("generations that come in together, in $name", ({ create: createDatabase }) => {
  let database: TestDatabase;
  let db: Database;
  let service: GenerationService;
  let moderation: Moderation;

  beforeAll(async () => {
    database = await createDatabase();
    db = database.db;
    moderation = new Moderation({ db, clock: new FakeClock(), checker: undefined });
    await moderation.applies(newId(), "PROMPT"); // which lists of checks there are is asked now and then
    service = addService();
  });
  afterAll(async () => {
    await expectBalancedLedger(db);
    await database.close();
  });

  /** As of another process. */
  function addService(): GenerationService {
    const lifecycle = new GenerationLifecycle(db, new QuotaService(), new InProcessFrameBus(new FakeClock()));
    const list = async () => [TINY, UNSTORABLE];
    return new GenerationService({
      db,
      lifecycle,
      presets: { list, listRecent: list },
      moderation,
      outlooks: { outlook: async () => undefined },
      logger: createLogger("silent"),
    });
  }

  async function addTenant(pictures: bigint) {
    const tenantId = await db.transaction(asPlatform, (tx) => insertTenant(tx, "test"));
    const credits = pictures * PRICE;
    await db.transaction(asPlatform, (tx) => new QuotaService().grant(tx, tenantId, { credits, reason: "test" }));
    const addMember = (): Promise<Principal> =>
      db.transaction(asPlatform, async (tx) => {
        const member = { tenantId, role: "MEMBER", name: "test", isPlatformAdmin: false } as const;
        return principalFor({ tenantId, userId: await insertMember(tx, member) });
      });
    return { tenantId, addMember, member: await addMember() };
  }

  const inputOf = (wish: { key?: string; prompt?: string; preset?: string } = {}): CreateGenerationInput => ({
    idempotencyKey: wish.key ?? newId(),
    priority: "STANDARD",
    preset: wish.preset ?? "tiny",
    task: {
      textToImage: { prompt: wish.prompt ?? "x", count: 1, guidanceSchedule: "CONSTANT", speed: "EXACT" },
    },
  });
  const codesOf = (outcomes: readonly PromiseSettledResult<unknown>[]) =>
    outcomes.map((outcome) => (outcome.status === "fulfilled" ? "in" : (outcome.reason.code ?? "fault")));

  test("share a transaction, and each has all that belongs to it", async () => {
    const { member, tenantId } = await addTenant(10n);
    const transaction = vi.spyOn(db, "transaction");
    const created = await Promise.all(Array.from({ length: 8 }, () => service.create(member, inputOf())));
    expect(transaction).toHaveBeenCalledTimes(1);
    transaction.mockRestore();
    expect(new Set(created.map(({ generation }) => generation.id)).size).toBe(8);
    for (const { generation, replayed } of created) {
      expect(replayed).toBe(false);
      expect(await service.get(member, generation.id)).toEqual(generation);
    }
    const counts = await db.transaction(asPlatform, async (tx) => [
      await tx.milestone.count({ where: { tenantId } }),
      await tx.reservation.count({ where: { tenantId } }),
      await tx.ledgerEntry.count({ where: { tenantId, kind: "RESERVE" } }),
    ]);
    expect(counts).toEqual([8, 8, 8]);
  });

  test("are refused one by one: those for whom there is room go in, and a key that was refused can be used again", async () => {
    const { member, tenantId } = await addTenant(2n);
    const key = newId();
    const inputs = [inputOf(), inputOf({ prompt: "" }), inputOf(), inputOf({ key })];
    const outcomes = await Promise.allSettled(inputs.map((input) => service.create(member, input)));
    expect(codesOf(outcomes)).toEqual(["in", "INVALID_INPUT", "in", "QUOTA_EXHAUSTED"]);
    expect(outcomes[3]).toMatchObject({ reason: { details: { facts: { available: "0", held: "0.331776" } } } });
    await db.transaction(asPlatform, (tx) =>
      new QuotaService().grant(tx, tenantId, { credits: PRICE, reason: "test" }),
    );
    const other = await service.create(member, inputOf({ key, prompt: "y" }));
    expect(other).toMatchObject({ replayed: false, generation: { textToImage: { prompt: "y" } } });
  });

  test("count against their own members' limits only", async () => {
    const { tenantId, member, addMember } = await addTenant(10n);
    const limited = await addMember();
    const key = { tenantId, level: "MEMBER", subjectId: limited.userId, kind: "QUEUED", window: "TOTAL" } as const;
    await db.transaction(asPlatform, (tx) => saveLimit(tx, { ...key, max: 1n, isRolling: false }));
    const callers = [limited, member, limited, member];
    const outcomes = await Promise.allSettled(callers.map((caller) => service.create(caller, inputOf())));
    expect(codesOf(outcomes)).toEqual(["in", "in", "QUOTA_EXHAUSTED", "in"]);
    expect(await db.transaction(asPlatform, (tx) => findLimit(tx, key))).toMatchObject({ held: 1n });
  });

  test("replay a twin, wherever it runs, and tell another input under its key", async () => {
    const { member } = await addTenant(10n);
    const key = newId();
    const services = [service, addService(), addService()];
    const twins = await Promise.all(
      Array.from({ length: 12 }, (_, i) => services[i % 3]!.create(member, inputOf({ key }))),
    );
    expect(new Set(twins.map(({ generation }) => generation.id)).size).toBe(1);
    expect(twins.filter(({ replayed }) => !replayed)).toHaveLength(1);
    const outcomes = await Promise.allSettled([
      service.create(member, inputOf({ key, prompt: "other" })),
      service.create(member, inputOf()),
    ]);
    expect(codesOf(outcomes)).toEqual(["IDEMPOTENCY_KEY_REUSED", "in"]);
  });

  test("replay what was created although it would be refused now", async () => {
    const { member } = await addTenant(1n);
    const input = inputOf();
    const { generation } = await service.create(member, input);
    const withoutPresets = new GenerationService({
      db,
      lifecycle: new GenerationLifecycle(db, new QuotaService(), new InProcessFrameBus(new FakeClock())),
      presets: { list: async () => [], listRecent: async () => [] },
      moderation,
      outlooks: { outlook: async () => undefined },
      logger: createLogger("silent"),
    });
    expect(await withoutPresets.create(member, input)).toMatchObject({ replayed: true, generation });
    expect(codesOf(await Promise.allSettled([withoutPresets.create(member, inputOf())]))).toEqual(["UNAVAILABLE"]);
  });

  test("are not harmed by the fault of one", async () => {
    const { member } = await addTenant(10n);
    const inputs = [inputOf(), inputOf({ preset: "unstorable" }), inputOf()];
    const outcomes = await Promise.allSettled(inputs.map((input) => service.create(member, input)));
    expect(codesOf(outcomes).map((code) => (code === "in" ? code : "fault"))).toEqual(["in", "fault", "in"]);
  });

  test("are counted once each by a limit that is set while they come in, and checked meanwhile", async () => {
    const { member, tenantId } = await addTenant(100n);
    const services = [service, addService(), addService()];
    const key = { tenantId, level: "TENANT", subjectId: tenantId, kind: "QUEUED", window: "TOTAL" } as const;
    const setAndCheck = async (): Promise<void> => {
      await db.transaction(asPlatform, (tx) => saveLimit(tx, { ...key, max: 100n, isRolling: false }));
      for (let i = 0; i < 5; i++) expect(await db.transaction(asPlatform, repairCounters)).toEqual([]);
    };
    const creating = Array.from({ length: 60 }, async (_, i) => {
      for (let turn = 0; turn < i / 10; turn++) await new Promise(setImmediate);
      await services[i % 3]!.create(member, inputOf());
    });
    await Promise.all([...creating, setAndCheck()]);
    expect(await db.transaction(asPlatform, (tx) => findLimit(tx, key))).toMatchObject({ held: 60n });
  });

  test("never overspend, from several places at once", async () => {
    const { member, tenantId } = await addTenant(20n);
    const services = [service, addService(), addService(), addService()];
    const outcomes = await Promise.allSettled(
      Array.from({ length: 80 }, (_, i) => services[i % 4]!.create(member, inputOf())),
    );
    const codes = codesOf(outcomes);
    expect(codes.filter((code) => code === "in")).toHaveLength(20);
    expect(codes.filter((code) => code === "QUOTA_EXHAUSTED")).toHaveLength(60);
    const keys = await db.transaction(asPlatform, (tx) => tx.idempotencyRecord.count({ where: { tenantId } }));
    expect(keys).toBe(20);
  });
});
