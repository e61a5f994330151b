import { describe, expect, test } from "vitest";
import { FairShare } from "../../src/scheduler/fair-share.ts";
import { slowTest } from "../support/slow-test.ts";
import { type Job, jain, jobsOf, randomFrom, Simulation, type SimulationOptions, serviceIn } from "./simulation.ts";

const run = (jobs: readonly Job[], options: Partial<SimulationOptions> = {}): Simulation =>
  new Simulation(jobs, { workers: 4, ...options }).run();
const waitOf = ({ arrivesAt, firstStartAt }: { arrivesAt: number; firstStartAt: number }) => firstStartAt - arrivesAt;
const endOf = ({ ended }: Simulation) => ended.at(-1)?.endedAt ?? 0;

describe("tenants that always have something waiting", () => {
  const TENANTS = Array.from({ length: 20 }, (_, i) => `tenant-${i}`);

  test.each<[string, (random: () => number, i: number) => number]>([
    ["equal jobs", () => 100],
    ["jobs of all sizes", (random) => 20 + 400 * random() ** 3],
    ["small jobs of some and large ones of others", (_, i) => (i % 2 === 0 ? 20 : 500)],
  ])("receive equal service in every minute, of %s", (_, sizeOf) => {
    const random = randomFrom(1);
    const jobs = TENANTS.flatMap((tenantId, i) =>
      jobsOf({ tenantId }, { count: 3000, serviceMs: () => sizeOf(random, i) }),
    );
    const simulation = run(jobs, { until: 180_000 });
    for (const from of [0, 60_000, 120_000]) {
      const shares = Object.values(serviceIn(simulation, { from, to: from + 60_000 }));
      expect(shares).toHaveLength(TENANTS.length);
      expect(jain(shares)).toBeGreaterThan(0.99);
    }
  });

  test("receive equal service when one has small jobs and the other large ones", () => {
    const jobs = [
      ...jobsOf({ tenantId: "small" }, { count: 5000, serviceMs: 20 }),
      ...jobsOf({ tenantId: "large" }, { count: 500, serviceMs: 500 }),
    ];
    const service = serviceIn(run(jobs, { workers: 1, until: 60_000 }), { from: 0, to: 60_000 });
    expect(service["small"]! / service["large"]!).toBeCloseTo(1, 1);
  });

  test("receive service by their weights", () => {
    const jobs = [1, 2, 5].flatMap((weight) => jobsOf({ tenantId: `of-${weight}`, weight }, { count: 5000 }));
    const service = serviceIn(run(jobs, { until: 60_000 }), { from: 0, to: 60_000 });
    expect(jain([1, 2, 5].map((weight) => service[`of-${weight}`]! / weight))).toBeGreaterThan(0.999);
  });

  test("receive equal service even when predictions are wrong by half", () => {
    const random = randomFrom(2);
    const jobs = TENANTS.flatMap((tenantId) =>
      jobsOf({ tenantId }, { count: 1500, serviceMs: () => 50 + 100 * random() }),
    );
    const predict = ({ serviceMs }: Job) => serviceMs * (0.5 + random());
    const service = serviceIn(run(jobs, { predict, until: 120_000 }), { from: 0, to: 120_000 });
    expect(jain(Object.values(service))).toBeGreaterThan(0.99);
  });

  test("gain nothing by more keys, more members, or calling everything urgent", () => {
    const honest = jobsOf({ tenantId: "honest" }, { count: 5000 });
    const sybil = Array.from({ length: 50 }, (_, i) =>
      jobsOf(
        { tenantId: "sybil", userId: `member-${i % 10}`, apiKeyId: `key-${i}`, priority: "INTERACTIVE" },
        { count: 1000 },
      ),
    ).flat();
    const service = serviceIn(run([...sybil, ...honest], { until: 60_000 }), { from: 0, to: 60_000 });
    expect(service["honest"]! / service["sybil"]!).toBeCloseTo(1, 1);
  });

  test("share among their members, whatever keys these have", () => {
    const many = Array.from({ length: 9 }, (_, i) =>
      jobsOf({ tenantId: "a", userId: "many keys", apiKeyId: `key-${i}` }, { count: 1000 }),
    ).flat();
    const one = jobsOf({ tenantId: "a", userId: "one key", apiKeyId: "key" }, { count: 1000 });
    const { ended } = run([...many, ...one], { until: 20_000 });
    const served = ended.filter(({ userId }) => userId === "one key").length;
    expect(served / ended.length).toBeCloseTo(0.5, 1);
  });
});

test("a tenant with little to do waits for at most two service times beside a flood", () => {
  const flood = jobsOf({ tenantId: "flood" }, { count: 10_000 });
  const light = jobsOf({ tenantId: "light" }, { count: 50, from: 5_000, everyMs: 3_000 });
  const { ended } = run([...flood, ...light]);
  expect(ended).toHaveLength(10_050);
  const waits = ended.filter(({ tenantId }) => tenantId === "light").map(waitOf);
  expect(Math.max(...waits)).toBeLessThanOrEqual(200);
});

test("idling saves nothing up: who comes back gets no more than those who stayed", () => {
  const stayed = jobsOf({ tenantId: "stayed" }, { count: 5000 });
  const back = [
    ...jobsOf({ tenantId: "back" }, { count: 10 }),
    ...jobsOf({ tenantId: "back" }, { count: 2000, from: 50_000 }),
  ];
  const service = serviceIn(run([...stayed, ...back], { until: 60_000 }), { from: 50_000, to: 60_000 });
  expect(service["back"]! / service["stayed"]!).toBeCloseTo(1, 1);
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

test("a cap saves nothing up either, and what it leaves is lent to others", () => {
  const jobs = [...jobsOf({ tenantId: "capped" }, { count: 3000 }), ...jobsOf({ tenantId: "free" }, { count: 5000 })];
  const simulation = run(jobs, { caps: { capped: 1 }, until: 60_000 });
  const service = serviceIn(simulation, { from: 0, to: 60_000 });
  expect(service["capped"]! / service["free"]!).toBeCloseTo(1 / 3, 1);
  const running = simulation.service.filter(({ tenantId }) => tenantId === "capped");
  const overlaps = running.filter((a) => running.some((b) => b !== a && b.from < a.to && a.from < b.to));
  expect(overlaps).toEqual([]);
});

describe("classes", () => {
  test("inside a tenant what is interactive goes first; between tenants it counts no more", () => {
    const jobs = [
      ...jobsOf({ tenantId: "a", userId: "u1" }, { count: 100 }),
      ...jobsOf({ tenantId: "a", userId: "u2", priority: "INTERACTIVE" }, { count: 10 }),
      ...jobsOf({ tenantId: "b" }, { count: 100 }),
    ];
    const { ended } = run(jobs, { workers: 1 });
    const firstOf = (tenantId: string) => ended.filter((job) => job.tenantId === tenantId).slice(0, 10);
    expect(firstOf("a").every(({ priority }) => priority === "INTERACTIVE")).toBe(true);
    const early = ended.slice(0, 20).filter(({ tenantId }) => tenantId === "b");
    expect(early).toHaveLength(10);
  });

  test("batch work runs when nothing else waits, and no later than its age demands", () => {
    const ageingMs = 20_000;
    const busy = jobsOf({ tenantId: "busy" }, { count: 4000, everyMs: 25 });
    const quiet = jobsOf({ tenantId: "busy" }, { count: 2, from: 200_000 });
    const batch = jobsOf({ tenantId: "batch", priority: "BATCH" }, { count: 20, from: 1000 });
    const { ended } = run([...busy, ...quiet, ...batch], { ageingMs, workers: 2 });
    const waits = ended.filter(({ priority }) => priority === "BATCH").map(waitOf);
    expect(Math.min(...waits)).toBeGreaterThanOrEqual(ageingMs);
    // From then on it takes turns with the other tenant.
    expect(Math.max(...waits)).toBeLessThanOrEqual(ageingMs + 20 * 200);
  });
});

test("nothing is lost, everything ends once, and no worker idles while something waits", () => {
  const random = randomFrom(3);
  const jobs = Array.from({ length: 200 }, (_, i) =>
    jobsOf(
      { tenantId: `tenant-${i}`, priority: (["INTERACTIVE", "STANDARD", "BATCH"] as const)[i % 3]! },
      { count: 100, from: 1000 * random(), everyMs: 50 * random(), serviceMs: () => 10 + 90 * random() },
    ),
  ).flat();
  const deaths = randomFrom(4);
  const dies = (_: Job, attempt: number) => (attempt < 3 && deaths() < 0.05 ? deaths() : undefined);
  const simulation = run(jobs, { dies, workers: 8 });
  expect(new Set(simulation.ended.map(({ id }) => id)).size).toBe(jobs.length);
  expect(simulation.ended).toHaveLength(jobs.length);
  expect(simulation.ended.some(({ attempts }) => attempts > 1)).toBe(true);

  expect(endOf(run(jobs, { workers: 8 }))).toBeLessThanOrEqual(1.01 * endOf(run(jobs, { workers: 8, isFifo: true })));
});

slowTest("a million turns among ten thousand tenants lose nothing, and are as fair", () => {
  const random = randomFrom(5);
  const jobs = Array.from({ length: 10_000 }, (_, i) =>
    jobsOf({ tenantId: `tenant-${i}` }, { count: 100, serviceMs: () => 1 + 9 * random() }),
  ).flat();
  const simulation = run(jobs, { workers: 64 });
  expect(simulation.decisions).toBe(1_000_000);
  expect(new Set(simulation.ended.map(({ id }) => id)).size).toBe(1_000_000);
  const service = serviceIn(simulation, { from: 0, to: endOf(simulation) / 2 });
  expect(jain(Object.values(service))).toBeGreaterThan(0.99);
});
