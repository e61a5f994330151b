import { describe, expect, test } from "vitest";
import { FairShare } from "../../src/scheduler/fair-share.ts";
import { type MemoryOptions, MemoryWorld } from "./memory-world.ts";
import { jain, randomFrom, serviceIn, type Wanted, wantedBy } from "./scenario.ts";
import { Simulation, type SimulationOptions } from "./simulation.ts";

/** What is expected is the truth, unless told otherwise. */
const run = (
  wanted: readonly Wanted[],
  options: Partial<SimulationOptions> & MemoryOptions = {},
): Promise<Simulation> => {
  const world = new MemoryWorld({ predict: ({ serviceMs }) => serviceMs, ...options });
  return new Simulation(wanted, world, { workers: 4, ...options }).run();
};
const waitOf = ({ arrivesAt, firstStartAt }: { arrivesAt: number; firstStartAt: number }) => firstStartAt - arrivesAt;

describe("tenants that always have something waiting", () => {
  const TENANTS = Array.from({ length: 20 }, (_, i) => `tenant-${i}`);

  test.each<[string, (random: () => number, i: number) => number]>([
    ["equal work", () => 100],
    ["work of all sizes", (random) => 20 + 400 * random() ** 3],
    ["small work of some and large ones of others", (_, i) => (i % 2 === 0 ? 20 : 500)],
  ])("receive equal service in every minute, of %s", async (_, sizeOf) => {
    const random = randomFrom(1);
    const wanted = TENANTS.flatMap((tenantId, i) =>
      wantedBy({ tenantId }, { count: 2000, serviceMs: () => sizeOf(random, i) }),
    );
    const simulation = await run(wanted, { until: 180_000 });
    for (const from of [0, 60_000, 120_000]) {
      const shares = Object.values(serviceIn(simulation, { from, to: from + 60_000 }));
      expect(shares).toHaveLength(TENANTS.length);
      expect(jain(shares)).toBeGreaterThan(0.99);
    }
  });

  test("receive equal service when one has small work and the other large ones", async () => {
    const wanted = [
      ...wantedBy({ tenantId: "small" }, { count: 5000, serviceMs: 20 }),
      ...wantedBy({ tenantId: "large" }, { count: 500, serviceMs: 500 }),
    ];
    const service = serviceIn(await run(wanted, { workers: 1, until: 60_000 }), { from: 0, to: 60_000 });
    expect(service["small"]! / service["large"]!).toBeCloseTo(1, 1);
  });

  test("receive service by their weights", async () => {
    const wanted = [1, 2, 5].flatMap((weight) => wantedBy({ tenantId: `of-${weight}`, weight }, { count: 5000 }));
    const service = serviceIn(await run(wanted, { until: 60_000 }), { from: 0, to: 60_000 });
    expect(jain([1, 2, 5].map((weight) => service[`of-${weight}`]! / weight))).toBeGreaterThan(0.999);
  });

  test("receive equal service even when predictions are wrong by half", async () => {
    const random = randomFrom(2);
    const wanted = TENANTS.flatMap((tenantId) =>
      wantedBy({ tenantId }, { count: 1500, serviceMs: () => 50 + 100 * random() }),
    );
    const predict = ({ serviceMs }: Wanted) => serviceMs * (0.5 + random());
    const service = serviceIn(await run(wanted, { predict, until: 120_000 }), { from: 0, to: 120_000 });
    expect(jain(Object.values(service))).toBeGreaterThan(0.99);
  });

  test("receive equal service when the work of one is expected to take three times as long as it does", async () => {
    const wanted = ["known", "feared"].flatMap((tenantId) => wantedBy({ tenantId }, { count: 500 }));
    const predict = ({ tenantId, serviceMs }: Wanted) => (tenantId === "feared" ? 3 * serviceMs : serviceMs);
    const service = serviceIn(await run(wanted, { predict, until: 10_000 }), { from: 0, to: 10_000 });
    expect(service["feared"]! / service["known"]!).toBeCloseTo(1, 1);
  });

  test("share among their members, whatever keys these have", async () => {
    const many = Array.from({ length: 9 }, (_, i) =>
      wantedBy({ tenantId: "a", userId: "many keys", apiKeyId: `key-${i}` }, { count: 1000 }),
    ).flat();
    const one = wantedBy({ tenantId: "a", userId: "one key", apiKeyId: "key" }, { count: 1000 });
    const { ended } = await run([...many, ...one], { until: 20_000 });
    const served = ended.filter(({ userId }) => userId === "one key").length;
    expect(served / ended.length).toBeCloseTo(0.5, 1);
  });
});

test.each([
  ["a", "b"],
  ["b", "a"],
])("of two that come back together, named %s and %s, the one that has had less is first", (had, hadLess) => {
  const fair = new FairShare(600_000);
  const queueOf = (tenantId: string) =>
    ({
      tenantId,
      userId: "member",
      apiKeyId: null,
      priority: "STANDARD",
      preset: "tiny",
      weight: 1,
      since: new Date(0),
    }) as const;
  fair.addAll([queueOf(had), queueOf(hadLess)]);
  fair.start(queueOf(had), 1000);
  fair.start(queueOf(hadLess), 10);
  for (const tenantId of [had, hadLess]) fair.remove(queueOf(tenantId));
  fair.addAll([queueOf("a"), queueOf("b")]);
  expect(fair.next(new Date(0))?.tenantId).toBe(hadLess);
});

test("a cap saves nothing up either, and what it leaves is lent to others", async () => {
  const wanted = [
    ...wantedBy({ tenantId: "capped" }, { count: 3000 }),
    ...wantedBy({ tenantId: "free" }, { count: 5000 }),
  ];
  const simulation = await run(wanted, { caps: { capped: 1 }, until: 60_000 });
  const service = serviceIn(simulation, { from: 0, to: 60_000 });
  expect(service["capped"]! / service["free"]!).toBeCloseTo(1 / 3, 1);
  const running = [...simulation.service].filter(({ tenantId }) => tenantId === "capped");
  const overlaps = running.filter((a) => running.some((b) => b !== a && b.from < a.to && a.from < b.to));
  expect(overlaps).toEqual([]);
});

describe("classes", () => {
  test("inside a tenant what is interactive goes first; between tenants it counts no more", async () => {
    const wanted = [
      ...wantedBy({ tenantId: "a", userId: "u1" }, { count: 100 }),
      ...wantedBy({ tenantId: "a", userId: "u2", priority: "INTERACTIVE" }, { count: 10 }),
      ...wantedBy({ tenantId: "b" }, { count: 100 }),
    ];
    const { ended } = await run(wanted, { workers: 1 });
    const firstOf = (tenantId: string) => ended.filter((each) => each.tenantId === tenantId).slice(0, 10);
    expect(firstOf("a").every(({ priority }) => priority === "INTERACTIVE")).toBe(true);
    const early = ended.slice(0, 20).filter(({ tenantId }) => tenantId === "b");
    expect(early).toHaveLength(10);
  });

  test("batch work runs when nothing else waits, and no later than its age demands", async () => {
    const ageingMs = 20_000;
    const busy = wantedBy({ tenantId: "busy" }, { count: 4000, everyMs: 25 });
    const quiet = wantedBy({ tenantId: "busy" }, { count: 2, from: 200_000 });
    const batch = wantedBy({ tenantId: "batch", priority: "BATCH" }, { count: 20, from: 1000 });
    const { ended } = await run([...busy, ...quiet, ...batch], { ageingMs, workers: 2 });
    const waits = ended.filter(({ priority }) => priority === "BATCH").map(waitOf);
    expect(Math.min(...waits)).toBeGreaterThanOrEqual(ageingMs);
    // From then on it takes turns with the other tenant.
    expect(Math.max(...waits)).toBeLessThanOrEqual(ageingMs + 20 * 200);
  });

  test("batch work ages from its oldest on, whatever else is queued behind that", () => {
    const fair = new FairShare(600_000);
    const at = (ms: number) => new Date(ms);
    const queueOf = (priority: "BATCH" | "STANDARD", since: number) =>
      ({ tenantId: priority, userId: "u", apiKeyId: null, priority, preset: "tiny", since: at(since) }) as const;
    fair.addAll([queueOf("BATCH", 0), queueOf("STANDARD", 0)]);
    fair.start({ ...queueOf("STANDARD", 0), weight: 1 }, 100);
    fair.add(queueOf("BATCH", 500_000));
    expect(fair.next(at(599_999))?.priority).toBe("STANDARD");
    expect(fair.next(at(600_000))?.priority).toBe("BATCH");
  });
});
