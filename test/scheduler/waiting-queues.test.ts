import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Prisma } from "../../src/generated/prisma/client.ts";
import { claimAll } from "../../src/generation/claim.store.ts";
import { takeIn } from "../../src/generation/intake.store.ts";
import { requeue } from "../../src/generation/transition.store.ts";
import { asDispatcher, asPlatform, asTenant } from "../../src/platform/access.ts";
import type { Querying } from "../../src/platform/database.ts";
import { newId } from "../../src/platform/ids.ts";
import type { IdleWorker, Slot } from "../../src/pool/worker-pool.ts";
import { PoolQueue } from "../../src/scheduler/pool-queue.ts";
import { listHeads } from "../../src/scheduler/queue.store.ts";
import { readTurns } from "../../src/scheduler/share.store.ts";
import { addPayer, candidateFor } from "../support/payers.ts";
import { databasesHere, type TestDatabase } from "../support/test-database.ts";
import { until } from "../support/until.ts";

const PLENTY = 1_000_000_000n;
const slot = { worker: { worker: { name: "test" } } } as unknown as Slot;

describe.each(databasesHere())("what a pool's leader knows of its queues, in $name", ({ name, create }) => {
  let database: TestDatabase;
  let queue: PoolQueue;
  beforeAll(async () => {
    database = await create();
    queue = new PoolQueue({ pool: "p", ageingMs: 600_000 });
  });
  afterAll(() => database.close());

  /** Starts what has its turn on so many workers. @returns the generations, with their leases */
  const start = async (workers: number) => {
    const db = database.db.singly(asDispatcher);
    const idle = Array.from({ length: workers }, (): IdleWorker => ({ presets: ["tiny"], slots: [slot] }));
    queue.rang();
    const turns = (await queue.choose(db, idle, new Date())).flatMap((group) => group.turns);
    const claims = turns.map(({ candidate, predictedMs }) => ({
      generationId: candidate.id,
      leaseId: newId(),
      worker: "test",
      predictedMs,
      share: 1,
    }));
    const outcomes = (await claimAll(db, { holder: newId(), leaseSeconds: 60 }, claims))!;
    for (const [i, turn] of turns.entries())
      if (typeof outcomes[i] !== "object") queue.refused(turn, { isHeld: outcomes[i] === "LIMITED" });
    if (queue.hasToSave) await database.db.transaction(asDispatcher, (tx) => queue.save(tx));
    return claims.flatMap(({ generationId, leaseId }, i) =>
      typeof outcomes[i] === "object" ? [{ generationId, leaseId, turn: turns[i]! }] : [],
    );
  };
  const idsOf = (started: readonly { generationId: string }[]) => started.map(({ generationId }) => generationId);

  test("has everything that was queued before and after it began, once", async () => {
    const payer = await addPayer(database.db, PLENTY);
    const queued = [await payer.queue(1n), await payer.queue(1n)];
    expect(idsOf(await start(1))).toEqual([queued[0]]);
    queued.push(await payer.queue(1n));
    expect(idsOf(await start(5))).toEqual(queued.slice(1));
    expect(await start(5)).toEqual([]);
  });

  test("reads nothing for a claim that it prepared, unless somebody rang since", async () => {
    const payer = await addPayer(database.db, PLENTY);
    const queued = [await payer.queue(1n)];
    const db = database.db.singly(asDispatcher);
    const chosen = async (reading: Querying): Promise<readonly string[]> => {
      const groups = await queue.choose(reading, [{ presets: ["tiny"], slots: [slot] }], new Date());
      const turns = groups.flatMap((group) => group.turns);
      for (const turn of turns) queue.refused(turn, { isHeld: false });
      return turns.map(({ candidate }) => candidate.id);
    };
    const nothing = { $queryRaw: () => Promise.reject(new Error("it reads")) } as unknown as Querying;
    queue.rang();
    await queue.prepare(db);
    expect(await chosen(nothing)).toEqual(queued);
    await queue.prepare(db);
    const [first] = queued;
    await payer.cancel(first!);
    queued.splice(0, 1, await payer.queue(1n));
    queue.rang();
    await expect(chosen(nothing)).rejects.toThrow("it reads");
    expect(await chosen(db)).toEqual([first]);
    expect(idsOf(await start(5))).toEqual(queued);
  });

  test("lets pass what was cancelled, and takes what came back as the oldest", async () => {
    const payer = await addPayer(database.db, PLENTY);
    const queued = [await payer.queue(1n), await payer.queue(1n), await payer.queue(1n)];
    const [first] = await start(1);
    await payer.cancel(queued[1]!);
    const attempt = { outcome: "YIELDED", stepsDone: 1 } as const;
    await database.db.transaction(asDispatcher, (tx) => requeue(tx, first!, { attempt, counts: false, delayMs: 0 }));
    expect(idsOf(await start(1))).toEqual([queued[0]]);
    expect(idsOf(await start(5))).toEqual([queued[2]]);
  });

  test("waits with what is to pause, and not with what is behind it", async () => {
    const payer = await addPayer(database.db, PLENTY);
    const queued = [await payer.queue(1n), await payer.queue(1n)];
    const [first] = await start(1);
    const attempt = { outcome: "FAILED", stepsDone: 1 } as const;
    await database.db.transaction(asDispatcher, (tx) => requeue(tx, first!, { attempt, counts: true, delayMs: 300 }));
    expect(idsOf(await start(5))).toEqual([queued[1]]);
    await until(async () => expect(idsOf(await start(1))).toEqual([queued[0]]));
  });

  test("holds back whose limit is reached, without holding up others, until something ends or the limit is raised", async () => {
    const [held, other] = [await addPayer(database.db, PLENTY), await addPayer(database.db, PLENTY)];
    await held.limit({ level: "TENANT", kind: "RUNNING" }, 1n);
    const queued = [await held.queue(1n), await held.queue(1n), await held.queue(1n)];
    const others = [await other.queue(1n), await other.queue(1n)];
    const started = [...(await start(2)), ...(await start(2))];
    expect(idsOf(started).sort()).toEqual([queued[0]!, ...others].sort());
    expect(await start(1)).toEqual([]);
    const running = started.find(({ generationId }) => generationId === queued[0])!;
    await held.finish(running, 1n);
    queue.ended(running.turn, { ms: 1, isWhole: true });
    expect(idsOf(await start(2))).toEqual([queued[1]]);
    await held.limit({ level: "TENANT", kind: "RUNNING" }, 2n);
    await until(async () => expect(idsOf(await start(1))).toEqual([queued[2]]));
  });

  test.skipIf(!name.includes("PostgreSQL"))(
    "misses nothing of a transaction that began before others and ends after them",
    async () => {
      const [slow, quick] = [await addPayer(database.db, PLENTY), await addPayer(database.db, PLENTY)];
      const late = newId();
      let finish = (): void => {};
      const mayFinish = new Promise<void>((resolve) => {
        finish = resolve;
      });
      let written = (): void => {};
      const isWritten = new Promise<void>((resolve) => {
        written = resolve;
      });
      const { tenantId } = slow.payer;
      const taking = database.db.transaction(asTenant(tenantId), async (tx) => {
        await takeIn(tx, tenantId, [candidateFor(slow.payer, late, { credits: 1n, pixels: 0n })]);
        written();
        await mayFinish;
      });
      await isWritten;
      const early = [await quick.queue(1n), await quick.queue(1n)];
      expect(idsOf(await start(1))).toEqual([early[0]]);
      expect(idsOf(await start(3))).toEqual([early[1]]);
      finish();
      await taking;
      expect(idsOf(await start(3))).toEqual([late]);
    },
  );

  test("reads the heads of queues from the index, and sorts no queue for them", async () => {
    const name = { tenantId: newId(), userId: newId(), apiKeyId: null, priority: "STANDARD", preset: "tiny" } as const;
    let statement = Prisma.empty;
    const catching = {
      $queryRaw: async (query: TemplateStringsArray, ...values: unknown[]) => {
        statement = Prisma.sql(query, ...values);
        return [];
      },
    } as unknown as Querying;
    await listHeads(catching, { pool: "p", queues: [{ queue: name, after: undefined }], limit: 8 });
    const plan = await database.db.transaction(asDispatcher, async (tx) => {
      await tx.$executeRaw`select set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)`;
      return tx.$queryRaw<{ "QUERY PLAN": string }[]>`explain ${statement}`;
    });
    const lines = plan.map((line) => line["QUERY PLAN"]);
    expect(lines.some((line) => line.includes("generation_open_by_subject_idx"))).toBe(true);
    expect(lines.filter((line) => line.includes("Sort Key") && !line.includes("q.place"))).toEqual([]);
  });

  test("can be taken up from a leader that died, with what began and ended since it stored the turns", async () => {
    const payer = await addPayer(database.db, PLENTY);
    for (let i = 0; i < 3; i++) await payer.queue(1n);
    const { tenantId, userId } = payer.payer;
    await database.db.transaction(asPlatform, (tx) =>
      tx.tenant.update({ where: { id: tenantId }, data: { shareWeight: 2 } }),
    );
    const tags = async () => {
      const { tags: ofPool } = await readTurns(database.db.singly(asDispatcher), "p");
      const [tenant, member] = [null, userId].map((id) =>
        ofPool.find((t) => t.tenantId === tenantId && t.userId === id),
      );
      return { tenant: tenant!.tag, member: member!.tag };
    };
    await start(1);
    const before = await tags();
    const [running, ended] = [...(await start(1)), ...(await start(1))];
    const predictedMs = running!.turn.predictedMs;
    const begun = await tags();
    expect(begun.tenant).toBeCloseTo(before.tenant + (2 * predictedMs) / 2);
    expect(begun.member).toBeCloseTo(before.member + 2 * predictedMs);
    await payer.finish(ended!, 1n);
    const { startedAt, endedAt } = await database.db.transaction(asPlatform, (tx) =>
      tx.attempt.findFirstOrThrow({ where: { leaseId: ended!.leaseId } }),
    );
    const ms = endedAt!.getTime() - startedAt.getTime();
    const after = await tags();
    expect(after.tenant).toBeCloseTo(before.tenant + (predictedMs + ms) / 2);
    expect(after.member).toBeCloseTo(before.member + predictedMs + ms);
  });

  test("lets BATCH age from what still waits, not from what was canceled before it", async () => {
    const [batch, other] = [await addPayer(database.db, PLENTY), await addPayer(database.db, PLENTY)];
    const change = (id: string, data: { createdAt?: Date; priority?: "BATCH" }) =>
      database.db.transaction(asPlatform, (tx) => tx.generation.update({ where: { id }, data }));
    const [old, young] = [await batch.queue(1n), await batch.queue(1n)];
    for (const id of [old, young]) await change(id, { priority: "BATCH" });
    await change(old, { createdAt: new Date(Date.now() - 700_000) });
    const standard = await other.queue(1n);
    await start(0); // it knows of them
    await batch.cancel(old);
    expect(idsOf([...(await start(1)), ...(await start(1))])).toEqual([standard, young]);
  });

  test("takes turns by the weights of tenants", async () => {
    const [heavy, light] = [await addPayer(database.db, PLENTY), await addPayer(database.db, PLENTY)];
    const { tenantId } = heavy.payer;
    await database.db.transaction(asPlatform, (tx) =>
      tx.tenant.update({ where: { id: tenantId }, data: { shareWeight: 3 } }),
    );
    for (let i = 0; i < 8; i++) for (const payer of [heavy, light]) await payer.queue(1n);
    const started: string[] = [];
    for (let i = 0; i < 8; i++) started.push(...(await start(1)).map(({ turn }) => turn.candidate.tenantId));
    expect(started.filter((id) => id === tenantId)).toHaveLength(6);
  });
});
