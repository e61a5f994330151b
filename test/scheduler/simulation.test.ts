import { describe, expect, test } from "vitest";
import { slowTest } from "../support/slow-test.ts";
import { FifoWorld, type MemoryOptions, MemoryWorld } from "./memory-world.ts";
import { type Asker, jain, mixed, randomFrom, serviceIn, type Wanted, wantedBy } from "./scenario.ts";
import { type Death, Simulation, type SimulationOptions } from "./simulation.ts";
import { expectAllEnded, expectEndsExplained, expectNoStepRepeated } from "./soundness.ts";

const run = (wanted: readonly Wanted[], options: SimulationOptions & MemoryOptions): Promise<Simulation> =>
  new Simulation(wanted, new MemoryWorld(options), options).run();
const waitOf = ({ arrivesAt, firstStartAt }: { arrivesAt: number; firstStartAt: number }) => firstStartAt - arrivesAt;

const ASKERS: readonly Asker[] = Array.from({ length: 60 }, (_, i) => ({
  tenantId: `tenant-${Math.floor(i / 3)}`,
  userId: `member-${i}`,
  weight: 1 + (Math.floor(i / 3) % 3),
}));

/** Of attempts, by a seed: one in `oneIn` loses its worker. */
function deaths(seed: number, oneIn: number) {
  const random = randomFrom(seed);
  return (): Death | undefined =>
    random() < 1 / oneIn ? { after: random(), backMs: random() < 0.5 ? 100 : 5000 } : undefined;
}

describe("whatever happens in a pool", () => {
  const EVENTFUL = {
    workers: 8,
    slots: 3,
    pauseMs: 500,
    checkpointSteps: 5,
    ageingMs: 20_000,
    caps: { "tenant-1": 2 },
  };
  const wanted = mixed(ASKERS, { count: 10_000, overMs: 120_000, seed: 1 });
  const eventful = run(wanted, { ...EVENTFUL, dies: deaths(3, 20) });

  test("no generation is lost, and each ends once", async () => {
    const simulation = await eventful;
    expectAllEnded(simulation, wanted);
    expectEndsExplained(simulation);
    const states = new Set([...simulation.stories.values()].map(({ state }) => state));
    expect([...states].sort()).toEqual(["CANCELED", "DEAD_LETTERED", "EXPIRED", "FAILED", "SUCCEEDED"]);
  });

  test("no step is done again after a yield, and none is left out", async () => {
    const simulation = await eventful;
    expectNoStepRepeated(simulation);
    const stories = [...simulation.stories.values()];
    expect(stories.filter(({ yields }) => yields > 0).length).toBeGreaterThan(20);
    expect(stories.filter(({ wanted: { priority }, yields }) => yields > 0 && priority !== "BATCH")).toEqual([]);
  });

  test("no tenant has more at a time than its limit lets run", async () => {
    const { service } = await eventful;
    const changes = [...service]
      .filter(({ tenantId }) => tenantId === "tenant-1")
      .flatMap(({ from, to }) => [
        { at: from, by: 1 },
        { at: to, by: -1 },
      ])
      .sort((a, b) => a.at - b.at || a.by - b.by);
    let running = 0;
    const counts = changes.map(({ by }) => (running += by));
    expect(Math.max(...counts)).toBe(2);
  });

  test("the same seed gives the same starts", async () => {
    const again = await run(wanted, { ...EVENTFUL, dies: deaths(3, 20) });
    expect(again.starts).toEqual((await eventful).starts);
  });
});

test("no worker idles while something waits: all is done as soon as if it came first, went first", async () => {
  const random = randomFrom(3);
  const wanted = Array.from({ length: 200 }, (_, i) =>
    wantedBy(
      {
        tenantId: `tenant-${i}`,
        priority: (["INTERACTIVE", "STANDARD", "BATCH"] as const)[i % 3]!,
        weight: 1 + (i % 4),
      },
      { count: 50, from: 1000 * random(), everyMs: 50 * random(), serviceMs: () => 10 + 90 * random() },
    ),
  ).flat();
  const fair = await run(wanted, { workers: 8 });
  const fifo = await new Simulation(wanted, new FifoWorld(), { workers: 8 }).run();
  expectAllEnded(fair, wanted);
  expect(fair.makespan).toBeLessThanOrEqual(1.01 * fifo.makespan);
});

test("who waits has service by weight, class by class, while workers die and BATCH yields", async () => {
  const random = randomFrom(6);
  const weights = [1, 2, 5, 1, 2, 5, 1, 2, 5, 1];
  const foreground = weights.flatMap((weight, i) =>
    wantedBy({ tenantId: `fore-${i}`, weight }, { count: 600 * weight, serviceMs: () => 20 + 200 * random() ** 2 }),
  );
  const background = weights.flatMap((weight, i) =>
    wantedBy(
      { tenantId: `back-${i}`, weight, priority: "BATCH" },
      { count: 600 * weight, serviceMs: () => 20 + 200 * random() ** 2 },
    ),
  );
  const simulation = await run([...foreground, ...background], { workers: 8, dies: deaths(7, 50) });
  const sharesIn = (name: string, window: { from: number; to: number }) => {
    const service = serviceIn(simulation, window);
    return weights.map((weight, i) => (service[`${name}-${i}`] ?? 0) / weight);
  };
  const of = (name: string) => [...simulation.service].filter(({ tenantId }) => tenantId.startsWith(name));
  const half = Math.max(...of("fore").map(({ to }) => to));
  const begun = Math.min(...of("back").map(({ from }) => from));
  expect(begun).toBeGreaterThan(half - 2000);
  expect(jain(sharesIn("fore", { from: 0, to: 0.8 * half }))).toBeGreaterThanOrEqual(0.99);
  expect(jain(sharesIn("back", { from: half, to: half + 0.8 * (simulation.makespan - half) }))).toBeGreaterThanOrEqual(
    0.99,
  );
});

test("who asks for little beside a flood of ten thousand waits for two service times at most, also while the flood's work is unknown", async () => {
  const flood = wantedBy({ tenantId: "flood" }, { count: 10_000 });
  const light = wantedBy({ tenantId: "light" }, { count: 60, from: 20, everyMs: 3000 });
  const simulation = await run([...flood, ...light], { workers: 4 });
  const waits = simulation.ended.filter(({ tenantId }) => tenantId === "light").map(waitOf);
  expect(waits).toHaveLength(60);
  expect(Math.max(...waits)).toBeLessThanOrEqual(200);
});

test("nothing waits for longer than ageing and its turns take, whatever else floods the pool", async () => {
  const ageingMs = 10_000;
  const flood = Array.from({ length: 10 }, (_, i) =>
    wantedBy({ tenantId: `flood-${i}`, priority: "INTERACTIVE" }, { count: 600, everyMs: 40, serviceMs: 90 + i }),
  ).flat();
  const batch = wantedBy({ tenantId: "batch", priority: "BATCH" }, { count: 100, everyMs: 300 });
  const simulation = await run([...flood, ...batch], { workers: 4, ageingMs });
  const waits = simulation.ended.filter(({ priority }) => priority === "BATCH").map(waitOf);
  expect(waits).toHaveLength(100);
  expect(Math.max(...waits)).toBeGreaterThan(ageingMs);
  // Each has a turn in eleven from then on: one every 275 ms, and one comes every 300 ms.
  expect(Math.max(...waits)).toBeLessThanOrEqual(ageingMs + 600);
});

test.each<[string, Partial<Wanted>, Partial<MemoryOptions>]>([
  ["that idled", {}, {}],
  ["whose limit let nothing run", {}, { caps: { back: 0 } }],
  ["that canceled what it had begun", { cancelMs: 150, serviceMs: 60_000, steps: 1000 }, {}],
])("a tenant %s has no more than its share of any second when it comes back", async (_, change, options) => {
  const stayed = ["a", "b", "c"].flatMap((tenantId) => wantedBy({ tenantId }, { count: 2000 }));
  const before = wantedBy({ tenantId: "back" }, { count: 4, from: 1000 }).map((each) => ({ ...each, ...change }));
  const back = wantedBy({ tenantId: "back" }, { count: 1000, from: 20_000 });
  const caps: Record<string, number> = { ...options.caps };
  const world = new MemoryWorld({ predict: ({ serviceMs }) => serviceMs, caps });
  const simulation = new Simulation([...stayed, ...before, ...back], world, { workers: 8, until: 30_000 });
  if (caps["back"] === 0) simulation.at(20_000, () => world.uncap("back"));
  await simulation.run();
  for (let from = 20_000; from < 30_000; from += 1000) {
    const { back: ms = 0 } = serviceIn(simulation, { from, to: from + 1000 });
    expect(ms).toBeLessThanOrEqual((8 * 1000) / 4 + 200);
  }
});

test("more keys, members and classes gain a tenant nothing", async () => {
  const honest = wantedBy({ tenantId: "honest" }, { count: 3000 });
  const PRIORITIES = ["INTERACTIVE", "STANDARD", "BATCH"] as const;
  const sybil = Array.from({ length: 60 }, (_, i) =>
    wantedBy(
      { tenantId: "sybil", userId: `member-${i % 10}`, apiKeyId: `key-${i}`, priority: PRIORITIES[i % 3]! },
      { count: 100 },
    ),
  ).flat();
  const service = serviceIn(await run([...sybil, ...honest], { workers: 4, until: 60_000 }), { from: 0, to: 60_000 });
  expect(service["sybil"]! / service["honest"]!).toBeLessThanOrEqual(1.01);
});

test("turns stay fair however often another process takes them up", async () => {
  const random = randomFrom(8);
  const tenants = Array.from({ length: 10 }, (_, i) => `tenant-${i}`);
  const busy = tenants.flatMap((tenantId) =>
    wantedBy({ tenantId }, { count: 400, serviceMs: () => 50 + 100 * random() }),
  );
  const light = wantedBy({ tenantId: "light" }, { count: 15, from: 1000, everyMs: 2000 });
  const back = wantedBy({ tenantId: "back" }, { count: 500, from: 30_000 });
  const world = new MemoryWorld();
  const options = { workers: 8, until: 40_000 };
  const simulation = new Simulation([...busy, ...light, ...back], world, options);
  for (let at = 500; at < options.until; at += 500) simulation.at(at, () => world.changeLeader());
  await simulation.run();
  const sharesIn = (from: number, to: number) => serviceIn(simulation, { from, to });
  const before = sharesIn(0, 30_000);
  expect(jain(tenants.map((id) => before[id]!))).toBeGreaterThanOrEqual(0.99);
  const after = sharesIn(30_000, 40_000);
  expect(jain([...tenants, "back"].map((id) => after[id]!))).toBeGreaterThanOrEqual(0.99);
  const waits = simulation.ended.filter(({ tenantId }) => tenantId === "light").map(waitOf);
  expect(waits).toHaveLength(15);
  expect(Math.max(...waits)).toBeLessThanOrEqual(2 * 150);
});

slowTest(
  "a million decisions among ten thousand tenants lose nothing, and are as fair",
  async () => {
    const random = randomFrom(5);
    const wanted = Array.from({ length: 10_000 }, (_, i) =>
      wantedBy(
        { tenantId: `tenant-${i}`, priority: i % 2 === 0 ? "STANDARD" : "INTERACTIVE" },
        { count: 100, serviceMs: () => 1 + 9 * random() },
      ),
    ).flat();
    const options = { workers: 64, predict: ({ serviceMs }: Wanted) => serviceMs };
    const world = new MemoryWorld(options);
    const simulation = await new Simulation(wanted, world, { ...options, dies: deaths(9, 1000) }).run();
    expect(world.decisions).toBeGreaterThanOrEqual(1_000_000);
    expectAllEnded(simulation, wanted);
    const service = serviceIn(simulation, { from: 0, to: simulation.makespan / 2 });
    expect(jain(Object.values(service))).toBeGreaterThanOrEqual(0.99);
  },
  600_000,
);
