/** What keeps those whose turn is over from writing: each guard by itself, at the statement that has it. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Claimant, claimAll } from "../../src/generation/claim.store.ts";
import { type Fence, finishRunning, requeue } from "../../src/generation/transition.store.ts";
import { asDispatcher, asPlatform } from "../../src/platform/access.ts";
import { newId } from "../../src/platform/ids.ts";
import { extendLeases, findCheckpoint, listOrphanedLeases, saveCheckpoint } from "../../src/scheduler/lease.store.ts";
import { dropPoolLease, holdsPoolLease, takePoolLease } from "../../src/scheduler/pool-lease.store.ts";
import { addPayer } from "../support/payers.ts";
import { databasesHere, type TestDatabase } from "../support/test-database.ts";

/** Of every generation here. */
const POOL = "p";
const CHECKPOINT = { stepsDone: 7, state: Uint8Array.of(7) };
const ORPHANED = { outcome: "ORPHANED", failureClass: "ORPHANED", stepsDone: 0 } as const;

describe.each(databasesHere())("fences, in $name", ({ create }) => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await create();
  });
  afterAll(() => database.close());

  const dispatch = <T>(run: Parameters<typeof database.db.transaction<T>>[1]): Promise<T> =>
    database.db.transaction(asDispatcher, run);
  const expire = (what: "generation" | "pool_lease") =>
    database.db.transaction(asPlatform, (tx) =>
      what === "generation"
        ? tx.$executeRaw`update generation set lease_expires_at = now() - interval '1 second' where state = 'RUNNING'`
        : tx.$executeRaw`update pool_lease set expires_at = now() - interval '1 second'`,
    );

  /** @returns the leases under which it starts, or undefined where nobody may claim */
  async function claim(
    ids: readonly string[],
    claimant: Partial<Claimant> = {},
  ): Promise<readonly Fence[] | undefined> {
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
    return outcomes && claims.filter((_, index) => typeof outcomes[index] === "object");
  }

  /** A generation that runs. */
  async function running(): Promise<Fence> {
    const payer = await addPayer(database.db, 1_000_000n);
    const [fence] = (await claim([await payer.queue(1n)])) ?? [];
    return fence!;
  }

  const requeueIn = (fence: Fence) =>
    dispatch((tx) => requeue(tx, fence, { attempt: ORPHANED, counts: false, delayMs: 0 }));

  /** Everything that an attempt, or the rescuer of one, may write. @returns the names of what was written */
  async function writesOf(fence: Fence): Promise<readonly string[]> {
    const end = { state: "SUCCEEDED", attempt: { outcome: "SUCCEEDED", stepsDone: 1 } } as const;
    const { generationId, leaseId } = fence;
    const written = {
      extends: (await dispatch((tx) => extendLeases(tx, [leaseId], 60))).length > 0,
      saves: await dispatch((tx) => saveCheckpoint(tx, leaseId, CHECKPOINT)),
      requeues: (await requeueIn(fence)) !== undefined,
      finishes: (await dispatch((tx) => finishRunning(tx, fence, end))) !== undefined,
      leaves: (await dispatch((tx) => findCheckpoint(tx, generationId))) !== undefined,
    };
    return Object.entries(written).flatMap(([name, isWritten]) => (isWritten ? [name] : []));
  }

  test("let an attempt write nothing once its generation waits again, or runs under another lease", async () => {
    const stale = await running();
    expect(await requeueIn(stale)).toBeDefined();
    expect(await writesOf(stale)).toEqual([]);
    const [current] = (await claim([stale.generationId])) ?? [];
    expect(await writesOf(stale)).toEqual([]);
    expect(await writesOf(current!)).toEqual(["extends", "saves", "requeues", "leaves"]); // it may do all, but end once
  });

  test("let an attempt write nothing once it has ended its generation", async () => {
    const fence = await running();
    const end = { state: "SUCCEEDED", attempt: { outcome: "SUCCEEDED", stepsDone: 1 } } as const;
    expect(await dispatch((tx) => finishRunning(tx, fence, end))).toBeDefined();
    expect(await writesOf(fence)).toEqual([]);
    expect(await claim([fence.generationId])).toEqual([]);
  });

  test("let nobody claim what runs", async () => {
    const { generationId } = await running();
    expect(await claim([generationId])).toEqual([]);
  });

  test("let a rescuer write nothing once the lease that had run out was extended", async () => {
    const fence = await running();
    const rescuing = { ...fence, hasExpired: true };
    const orphans = async (): Promise<readonly string[]> =>
      (await dispatch((tx) => listOrphanedLeases(tx, { pool: POOL, all: false }))).map(({ leaseId }) => leaseId);
    await expire("generation");
    expect(await orphans()).toContain(fence.leaseId);
    await dispatch((tx) => extendLeases(tx, [fence.leaseId], 60));
    expect(await orphans()).not.toContain(fence.leaseId);
    expect(await requeueIn(rescuing)).toBeUndefined();
    await expire("generation");
    expect(await requeueIn(rescuing)).toBeDefined();
  });

  test("let nobody claim, nor store turns, whose lease of the pool is another's or has run out", async () => {
    const payer = await addPayer(database.db, 1_000_000n);
    const ids = [await payer.queue(1n)];
    const [former, next] = [newId(), newId()];
    const take = (holder: string) =>
      dispatch((tx) => takePoolLease(tx, { pool: POOL, holder, seconds: 60, isExclusive: false }));
    const holds = (holder: string) => dispatch((tx) => holdsPoolLease(tx, POOL, holder));
    expect(await take(former)).toBe(true);
    expect([await take(next), await holds(next), await holds(former)]).toEqual([false, false, true]);
    await expire("pool_lease");
    expect(await holds(former)).toBe(false);
    expect(await claim(ids, { holder: former, pool: POOL })).toBeUndefined();
    expect(await take(next)).toBe(true);
    expect([await take(former), await holds(former)]).toEqual([false, false]);
    expect(await claim(ids, { holder: former, pool: POOL })).toBeUndefined();
    await dispatch((tx) => dropPoolLease(tx, POOL, former)); // which is not its own
    expect(await claim(ids, { holder: next, pool: POOL })).toHaveLength(1);
  });
});
