import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { asPlatform } from "../../src/platform/access.ts";
import { savePool } from "../../src/pool/pool.store.ts";
import { expectBalancedLedger } from "../support/ledger.ts";
import { addMemberPayer, addPayer } from "../support/payers.ts";
import { databasesHere, type TestDatabase } from "../support/test-database.ts";
import { DatabaseWorld } from "./database-world.ts";
import { MemoryWorld } from "./memory-world.ts";
import { type Asker, mixed, randomFrom } from "./scenario.ts";
import { Simulation } from "./simulation.ts";
import { expectAllEnded, expectEndsExplained, expectNoStepRepeated } from "./soundness.ts";

/** Of the tenants, by turns. */
const WEIGHTS = [1, 2, 4];
const TENANTS = 6;
const CAP = 2;

// The embedded database takes three times as long, and shows the same.
describe.each(databasesHere().slice(-1))("a simulated pool in $name", ({ create }) => {
  let database: TestDatabase;
  const askers: Asker[] = [];
  beforeAll(async () => {
    database = await create();
    await database.db.transaction(asPlatform, (tx) => savePool(tx, "p", []));
    for (let i = 0; i < TENANTS; i++) {
      const first = await addPayer(database.db, 1_000_000n);
      const { tenantId } = first.payer;
      const weight = WEIGHTS[i % WEIGHTS.length]!;
      const data = { shareWeight: weight };
      await database.db.transaction(asPlatform, (tx) => tx.tenant.update({ where: { id: tenantId }, data }));
      if (i === 0) await first.limit({ level: "TENANT", kind: "RUNNING" }, BigInt(CAP));
      const second = await addMemberPayer(database.db, tenantId);
      for (const { payer } of [first, second]) askers.push({ tenantId, userId: payer.userId, weight });
    }
  });
  afterAll(() => database.close());

  /** Of attempts, by a seed, those that lose their worker. */
  const deaths = (seed: number) => {
    const random = randomFrom(seed);
    return () => (random() < 0.08 ? { after: random(), backMs: 200 } : undefined);
  };
  const options = { workers: 4, ageingMs: 3000, checkpointSteps: 5 };

  test("starts what the same pool starts without a database, in the same order, and loses nothing", async () => {
    // What is canceled while it waits is known to the leader when its turn comes, and to arrays at once.
    const wanted = mixed(askers, { count: 150, overMs: 2500, seed: 11 }).map(
      ({ cancelMs: _cancelMs, deadlineMs: _deadlineMs, ...each }) => each,
    );
    const world = new DatabaseWorld(database.db, options);
    const stored = await new Simulation(wanted, world, { ...options, dies: deaths(12) }).run();
    expectAllEnded(stored, wanted);
    expectNoStepRepeated(stored);
    expectEndsExplained(stored);
    expect(world.gone).toEqual([]);
    const caps = { [askers[0]!.tenantId]: CAP };
    const remembered = await new Simulation(wanted, new MemoryWorld({ ...options, caps }), {
      ...options,
      dies: deaths(12),
    }).run();
    expect(stored.starts).toEqual(remembered.starts);
    expect([...stored.stories.values()]).toEqual([...remembered.stories.values()]);
    expect(stored.starts.ids.length).toBeGreaterThan(wanted.length);
    await expectRowsAgree(stored);
  });

  test("loses nothing, in groups, while the process that leads changes again and again", async () => {
    const wanted = mixed(askers, { count: 80, overMs: 1500, seed: 13 });
    const world = new DatabaseWorld(database.db, options);
    const simulation = new Simulation(wanted, world, { ...options, slots: 3, dies: deaths(14) });
    for (let at = 100; at < 4000; at += 100) simulation.at(at, () => world.changeLeader());
    await simulation.run();
    expectAllEnded(simulation, wanted);
    expectNoStepRepeated(simulation);
    await expectRowsAgree(simulation);
  });

  /** Each ended once, in the rows, with gap-free milestones; its credits are settled. */
  async function expectRowsAgree({ stories }: Simulation): Promise<void> {
    const ids = [...stories.keys()];
    const rows = await database.db.transaction(asPlatform, (tx) =>
      tx.generation.findMany({ where: { id: { in: ids } }, include: { milestones: { orderBy: { seq: "asc" } } } }),
    );
    expect(rows).toHaveLength(ids.length);
    for (const { id, state, attempt, milestones } of rows) {
      const story = stories.get(id);
      expect([state, attempt]).toEqual([story?.state, story?.attempts]);
      expect(milestones.map(({ seq }) => seq)).toEqual(milestones.map((_, i) => i + 1));
      expect(milestones.filter(({ kind }) => kind === "FINISHED")).toHaveLength(1);
    }
    await expectBalancedLedger(database.db);
  }
});
