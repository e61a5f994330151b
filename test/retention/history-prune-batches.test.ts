import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { listMilestones } from "../../src/generation/milestone.store.ts";
import { asDispatcher, asPlatform, asTenant } from "../../src/platform/access.ts";
import { Metrics } from "../../src/platform/metrics.ts";
import { HistoryPrune } from "../../src/retention/history-prune.ts";
import { listUncounted, pruneGenerations } from "../../src/retention/retention.store.ts";
import { expectBalancedLedger } from "../support/ledger.ts";
import { addPayer } from "../support/payers.ts";
import { databasesHere, type TestDatabase } from "../support/test-database.ts";

describe.each(databasesHere())("the history, in $name", ({ create }) => {
  let database: TestDatabase;
  let payer: Awaited<ReturnType<typeof addPayer>>;
  beforeAll(async () => {
    database = await create();
    payer = await addPayer(database.db, 1_000_000n);
  });
  afterAll(() => database.close());

  const execute = (sql: string) => database.db.transaction(asPlatform, (tx) => tx.$executeRawUnsafe(sql));
  const count = (generationId: string) =>
    database.db.transaction(asPlatform, async (tx) => [
      await tx.milestone.count({ where: { generationId } }),
      await tx.attempt.count({ where: { generationId } }),
    ]);
  /** Drawn, and ended so many days ago. */
  const ended = async (days: number): Promise<string> => {
    const id = await payer.queue(1n);
    await payer.finish((await payer.start(id))!, 1n);
    await execute(`update generation set finished_at = now() - interval '${days} days' where id = '${id}'`);
    return id;
  };
  const newPrune = (metrics = new Metrics({ role: "all", pool: "p" })) =>
    new HistoryPrune({ db: database.db, metrics, days: 7 });
  const pruneSome = (limit: number) =>
    database.db.transaction(asDispatcher, async (tx) =>
      pruneGenerations(tx, { days: 7, uncounted: await listUncounted(tx), limit }),
    );

  test("goes of what ended for long enough only; the ledger and the end that is told stay", async () => {
    const [old, young] = [await ended(8), await ended(6)];
    const [queued, running] = [await payer.queue(1n), await payer.queue(1n)];
    await payer.start(running);
    const metrics = new Metrics({ role: "all", pool: "p" });
    expect(await newPrune(metrics).runOnce()).toBe(1);
    expect(await Promise.all([old, young, queued, running].map(count))).toEqual([
      [0, 0],
      [3, 1],
      [1, 0],
      [2, 1],
    ]);
    expect((await metrics.prunedRows.get()).values.map(({ labels, value }) => [labels.table, value])).toEqual([
      ["milestone", 3],
      ["attempt", 1],
    ]);
    await expectBalancedLedger(database.db);
    const told = (afterSeq: number) =>
      database.db.transaction(asTenant(payer.payer.tenantId), (tx) => listMilestones(tx, old, afterSeq));
    expect(await told(0)).toMatchObject([{ kind: "FINISHED", seq: 3, state: "SUCCEEDED" }]);
    expect(await told(3)).toEqual([]);
  });

  test("goes in batches, the oldest first", async () => {
    const [second, first, third] = [await ended(20), await ended(30), await ended(10)];
    expect(await pruneSome(2)).toEqual({ generations: 2, milestones: 6, attempts: 2 });
    expect(await Promise.all([first, second, third].map(count))).toEqual([
      [0, 0],
      [0, 0],
      [3, 1],
    ]);
    expect(await pruneSome(2)).toMatchObject({ generations: 1 });
    expect(await pruneSome(2)).toEqual({ generations: 0, milestones: 0, attempts: 0 });
  });

  test.each(["turns", "the fairness report"])("stays until it is counted in %s", async (what) => {
    const setCounted = (days: number) =>
      execute(
        what === "turns"
          ? `insert into fair_share_tag (pool, tenant_id, user_id, tag, saved_at)
             values ('p', '${payer.payer.tenantId}', '${payer.payer.userId}', 0, now() - interval '${days} days')
             on conflict (pool, tenant_id, user_id) do update set saved_at = excluded.saved_at`
          : `update pool set accounted_until = now() - interval '${days} days' where name = 'p'`,
      );
    await execute("insert into pool (name, presets) values ('p', '[]')");
    onTestFinished(async () => {
      await execute("delete from fair_share_tag");
      await execute("delete from pool");
    });
    await setCounted(9);
    const [before, after] = [await ended(10), await ended(8)];
    expect(await newPrune().runOnce()).toBe(1);
    expect(await Promise.all([before, after].map(count))).toEqual([
      [0, 0],
      [3, 1],
    ]);
    await setCounted(0);
    expect(await newPrune().runOnce()).toBe(1);
  });

  test("goes on at the next start where a server stops in the middle", async () => {
    await newPrune().runOnce();
    const id = await ended(8);
    const columns = "tenant_id, user_id, pool, preset, task, priority, state, settings, total_steps, finished_at";
    await execute(`insert into generation (id, ${columns})
      select gen_random_uuid(), ${columns} from generation, generate_series(1, 200) where id = '${id}'`);
    const prune = newPrune();
    prune.stop();
    expect(await prune.runOnce()).toBe(200);
    expect(await newPrune().runOnce()).toBe(1);
  });
});
