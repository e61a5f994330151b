import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { claimAll } from "../../src/generation/claim.store.ts";
import { asDispatcher, asPlatform } from "../../src/platform/access.ts";
import type { Tx } from "../../src/platform/database.ts";
import { newId } from "../../src/platform/ids.ts";
import { extendLeases } from "../../src/scheduler/lease.store.ts";
import { dropPoolLease, takePoolLease } from "../../src/scheduler/pool-lease.store.ts";
import { addMemberPayer, addPayer } from "../support/payers.ts";
import { databasesHere, type TestDatabase } from "../support/test-database.ts";

const PLENTY = 1_000_000_000n;

/** Of generations, by this connection. */
async function countReplaced(tx: Tx): Promise<{ rows: number; inPlace: number }> {
  const [row] = await tx.$queryRaw<{ rows: number; inPlace: number }[]>`
    select pg_stat_get_xact_tuples_updated('generation'::regclass)::int as rows,
      pg_stat_get_xact_tuples_hot_updated('generation'::regclass)::int as "inPlace"`;
  return row!;
}

describe.each(databasesHere())("claims, in $name", ({ create }) => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await create();
  });
  afterAll(() => database.close());

  const claim = async (ids: readonly string[], claimant: { holder?: string; pool?: string } = {}) => {
    const claims = ids.map((generationId) => ({
      generationId,
      leaseId: newId(),
      worker: "test",
      predictedMs: 1,
      share: 1,
    }));
    const outcomes = await claimAll(
      database.db.singly(asDispatcher),
      { holder: newId(), leaseSeconds: 60, ...claimant },
      claims,
    );
    return outcomes?.map((outcome) => (typeof outcome === "object" ? "STARTED" : outcome));
  };
  const queue = async (payer: { queue(credits: bigint): Promise<string> }, count: number) => {
    const ids: string[] = [];
    for (let i = 0; i < count; i++) ids.push(await payer.queue(1n));
    return ids;
  };

  test("start as many as limits have room for, in the order in which they are asked for, and count them", async () => {
    const payer = await addPayer(database.db, PLENTY);
    await payer.limit({ level: "TENANT", kind: "RUNNING" }, 2n);
    await payer.limit({ level: "MEMBER", kind: "QUEUED" }, 10n);
    const other = await addPayer(database.db, PLENTY);
    const ids = await queue(payer, 4);
    const [free] = await queue(other, 1);
    expect(await claim([ids[0]!, ids[1]!, ids[2]!, free!])).toEqual(["STARTED", "STARTED", "GONE", "STARTED"]);
    expect(await payer.find({ level: "TENANT", kind: "RUNNING" })).toMatchObject({ held: 2n });
    expect(await payer.find({ level: "MEMBER", kind: "QUEUED" })).toMatchObject({ held: 2n });
    expect(await claim([ids[2]!, ids[3]!])).toEqual(["LIMITED", "LIMITED"]);
    expect(await payer.find({ level: "TENANT", kind: "RUNNING" })).toMatchObject({ held: 2n });
    expect(await payer.find({ level: "MEMBER", kind: "QUEUED" })).toMatchObject({ held: 2n });
  });

  test("replace rows where they are, as extensions of leases do, and touch no index of generations", async () => {
    const { db } = database;
    const payer = await addPayer(db, PLENTY);
    const [id] = await queue(payer, 1);
    const claims = [{ generationId: id!, leaseId: newId(), worker: "test", predictedMs: 1, share: 1 }];
    const replaced = await db.transaction(asDispatcher, async (tx) => {
      const before = await countReplaced(tx);
      expect(await claimAll(tx, { holder: newId(), leaseSeconds: 60 }, claims)).toMatchObject([{ id }]);
      expect(await extendLeases(tx, [claims[0]!.leaseId], 60)).toHaveLength(1);
      const after = await countReplaced(tx);
      return { rows: after.rows - before.rows, inPlace: after.inPlace - before.inPlace };
    });
    expect(replaced).toEqual({ rows: 2, inPlace: 2 });
  });

  test("do not count room as taken by one that another limit refuses", async () => {
    const first = await addPayer(database.db, PLENTY);
    const second = await addMemberPayer(database.db, first.payer.tenantId);
    await first.limit({ level: "TENANT", kind: "RUNNING" }, 1n);
    await first.limit({ level: "MEMBER", kind: "RUNNING" }, 0n);
    const [held, free] = [...(await queue(first, 1)), ...(await queue(second, 1))];
    expect((await claim([held!, free!]))?.[0]).toBe("LIMITED");
    expect(await claim([free!])).not.toEqual(["LIMITED"]);
    expect(await first.find({ level: "TENANT", kind: "RUNNING" })).toMatchObject({ held: 1n });
  });

  test("pass over what does not wait any more, and what a transaction is changing", async () => {
    const payer = await addPayer(database.db, PLENTY);
    const [cancelled, changing, free, last] = await queue(payer, 4);
    await payer.cancel(cancelled!);
    expect(await claim([cancelled!, free!, newId()])).toEqual(["GONE", "STARTED", "GONE"]);
    if (database.db.isExclusive) return; // one transaction at a time
    let release = (): void => {};
    const mayEnd = new Promise<void>((resolve) => {
      release = resolve;
    });
    let locked = (): void => {};
    const isLocked = new Promise<void>((resolve) => {
      locked = resolve;
    });
    const change = database.db.transaction(asPlatform, async (tx) => {
      await tx.$queryRaw`select 1 from generation where id = ${changing!}::uuid for update`;
      locked();
      await mayEnd;
    });
    await isLocked;
    expect(await claim([changing!, last!])).toEqual(["GONE", "STARTED"]);
    release();
    await change;
  });

  test("start nothing for who does not hold the lease of the pool", async () => {
    const payer = await addPayer(database.db, PLENTY);
    const ids = await queue(payer, 1);
    const holder = newId();
    expect(await claim(ids, { holder, pool: "claims" })).toBeUndefined();
    const lease = { pool: "claims", holder, seconds: 60, isExclusive: false };
    await database.db.transaction(asDispatcher, (tx) => takePoolLease(tx, lease));
    expect(await claim(ids, { holder: newId(), pool: "claims" })).toBeUndefined();
    expect(await claim(ids, { holder, pool: "claims" })).toEqual(["STARTED"]);
    await database.db.transaction(asDispatcher, (tx) => dropPoolLease(tx, "claims", holder));
  });
});
