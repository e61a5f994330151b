import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { asDispatcher, asPlatform } from "../../src/platform/access.ts";
import { newId } from "../../src/platform/ids.ts";
import { listLive, listWorkers, saveWorkers, setDrain } from "../../src/pool/worker.store.ts";
import { takePoolLease } from "../../src/scheduler/pool-lease.store.ts";
import { databasesHere, type TestDatabase } from "../support/test-database.ts";

const LEADER = { pool: "p", holder: newId() };
const PRESETS = [{ name: "tiny", buildDigest: "a" }];

/** As a leader tells of it. */
const report = (name: string, change: object = {}) => ({
  ...{ name, slots: 4, standby: 1, presets: PRESETS, newFaults: 0, quarantineMs: null },
  ...change,
});

describe.each(databasesHere())("rows of workers, in $name", ({ create }) => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await create();
  });
  beforeEach(() =>
    database.db.transaction(asPlatform, async (tx) => {
      await tx.worker.deleteMany();
      await takePoolLease(tx, { ...LEADER, seconds: 60, isExclusive: true });
    }),
  );
  afterAll(() => database.close());

  const save = (reports: ReturnType<typeof report>[], reporter = LEADER): Promise<boolean> =>
    database.db.transaction(asDispatcher, (tx) => saveWorkers(tx, reporter, reports));
  const list = () => database.db.transaction(asDispatcher, (tx) => listWorkers(tx, { pool: "p" }));
  const live = () => database.db.transaction(asDispatcher, (tx) => listLive(tx, "p"));
  const drain = (name: string) => database.db.transaction(asPlatform, (tx) => setDrain(tx, { pool: "p", name }, false));
  const moveGone = (hours: number) =>
    database.db.transaction(
      asPlatform,
      (tx) => tx.$executeRaw`update worker set gone_at = gone_at - make_interval(hours => ${hours}::int)`,
    );

  test("are written by the leader of their pool only", async () => {
    expect(await save([report("a")], { ...LEADER, holder: newId() })).toBe(false);
    expect(await list()).toEqual([]);
    expect(await save([report("a")])).toBe(true);
    expect(await save([], { ...LEADER, holder: newId() })).toBe(false);
    expect(await list()).toMatchObject([{ name: "a", slots: 4, standby: 1, presets: PRESETS, isGone: false }]);
  });

  test("add faults up, and tell of a quarantine until it ends", async () => {
    await save([report("a", { newFaults: 1, quarantineMs: 60_000 })]);
    await save([report("a", { newFaults: 2, quarantineMs: 60_000 })]);
    expect(await list()).toMatchObject([{ faults: 3, isQuarantined: true }]);
    await save([report("a", { quarantineMs: -1 })]);
    expect(await list()).toMatchObject([{ faults: 3, isQuarantined: false }]);
  });

  test("of what gets work leave out what is gone, drained or not ready", async () => {
    await save([report("a"), report("b"), report("c"), report("d", { slots: 0 })]);
    await drain("b");
    await save([report("a"), report("b"), report("d", { slots: 0 })]);
    expect((await list()).map(({ name, isGone }) => [name, isGone])).toEqual([
      ["a", false],
      ["b", false],
      ["c", true],
      ["d", false],
    ]);
    expect(await live()).toEqual([{ name: "a", slots: 4, presets: ["tiny"] }]);
  });

  test("are forgotten an hour after their worker, but those of drained ones, which may come back", async () => {
    await save([report("a"), report("b"), report("c")]);
    await drain("b");
    await save([report("c")]);
    await moveGone(2);
    await save([report("c")]);
    expect((await list()).map(({ name }) => name)).toEqual(["b", "c"]);
    await save([report("b")]);
    expect(await list()).toMatchObject([
      { name: "b", isGone: false, drainRequestedAt: expect.any(Date) },
      { name: "c", isGone: true },
    ]);
    await save([]);
    await moveGone(8 * 24);
    await save([]);
    expect(await list()).toEqual([]);
  });
});
