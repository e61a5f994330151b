import { describe, expect, test } from "vitest";
import { forecast, type PoolState, type Waiting } from "../../src/scheduler/forecast.ts";
import { PoolForecast } from "../../src/scheduler/pool-forecast.ts";
import { toSchedulingReason } from "../../src/scheduler/schedule.mapper.ts";
import { placeOf, reasonsOf, type Scheduled, timesOf } from "../../src/scheduler/schedule.ts";
import { at, IDLE, NOW, poolOf, waiting } from "../support/pool-state.ts";

function forecastOf(items: readonly Waiting[], change: Partial<PoolState> = {}): PoolForecast {
  const state = poolOf(items, change);
  return new PoolForecast(state, forecast(state));
}

const queued = (row: Waiting, change: Partial<Scheduled> = {}): Scheduled => ({
  ...row,
  pool: "local",
  state: "QUEUED",
  isSuspended: false,
  startedAt: null,
  predictedMs: null,
  ahead: 0,
  ...change,
});

const BUSY = { ...IDLE, freeAt: at(50), runs: [waiting()] };

const kindsOf = (row: Waiting, found: PoolForecast, change: Partial<Scheduled> = {}) =>
  reasonsOf(queued(row, change), found).map(({ kind }) => kind);

describe("a generation waits", () => {
  test("for those before it, counted by whose they are", () => {
    const items = [
      waiting(),
      waiting(),
      waiting({ userId: "a2" }),
      waiting({ tenantId: "b" }),
      waiting({ tenantId: "b" }),
    ];
    const tags = [
      { tenantId: "a", userId: null, tag: 1000, floors: [] },
      { tenantId: "a", userId: "a1", tag: 1000, floors: [] },
      { tenantId: "a", userId: "a2", tag: 900, floors: [] },
      { tenantId: "b", userId: null, tag: 100, floors: [] },
      { tenantId: "b", userId: "b1", tag: 100, floors: [] },
    ];
    const found = forecastOf(items, { turns: { floors: [], tags }, workers: [BUSY] });
    const last = queued(items[1]!);
    expect(placeOf(last, found)).toEqual({ startsBefore: 4, isEstimate: false });
    const [reason] = reasonsOf(last, found);
    expect(reason).toEqual({
      kind: "TURN",
      before: { ofOtherTenants: 2, ofOtherMembers: 1, ofOwn: 1 },
      isEstimate: false,
    });
    expect(toSchedulingReason(reason!).message).toBe(
      "These start before it: 2 of other tenants, 1 of other members, 1 of the same member.",
    );
  });

  test("for a worker, when it is the next one", () => {
    const item = waiting();
    const found = forecastOf([item], { workers: [BUSY] });
    expect(reasonsOf(queued(item), found)).toEqual([{ kind: "WORKERS_BUSY", until: at(50) }]);
    expect(timesOf(queued(item), found)).toMatchObject({ startAt: at(50), finishAt: at(150) });
  });

  test("for a limit of its own, with its figures, and for the platform's, without", () => {
    const item = waiting();
    const own = { level: "MEMBER", tenantId: "a", subjectId: "a1", max: 0, held: 0 } as const;
    const others = { ...own, subjectId: "a2" };
    const found = forecastOf([item], { limits: [own, others] });
    expect(reasonsOf(queued(item), found)).toEqual([{ kind: "LIMIT", limit: { level: "MEMBER", max: 0 } }]);
    expect(placeOf(queued(item), found)).toBeUndefined();
    const nil = "00000000-0000-0000-0000-000000000000";
    const full = { level: "PLATFORM", tenantId: nil, subjectId: nil, max: 1, held: 1 } as const;
    const [reason] = reasonsOf(queued(item), forecastOf([item], { limits: [full], workers: [BUSY] }));
    expect(toSchedulingReason(reason!)).toMatchObject({ kind: "LIMIT", limit: { level: "PLATFORM", max: null } });
  });

  test("for the end of a pause, of a suspension, of others where it is BATCH, and for a worker that serves it", () => {
    const paused = waiting({ notBefore: at(1000) });
    const batch = waiting({ tenantId: "b", priority: "BATCH", createdAt: at(-1000) });
    const large = waiting({ preset: "large" });
    const found = forecastOf([waiting(), paused, batch, large]);
    expect(reasonsOf(queued(paused), found)[0]).toEqual({ kind: "PAUSE", until: at(1000) });
    expect(kindsOf(paused, found, { isSuspended: true })).toContain("TENANT_SUSPENDED");
    expect(placeOf(queued(paused, { isSuspended: true }), found)).toBeUndefined();
    expect(reasonsOf(queued(batch), found)[0]).toEqual({ kind: "BATCH", until: at(599_000) });
    expect(kindsOf(large, found)).toContain("NO_WORKER");
    expect(timesOf(queued(large), found)).toMatchObject({ startAt: undefined, finishAt: undefined });
  });

  test("no more, when it runs", () => {
    const row = queued(waiting(), { state: "RUNNING", startedAt: at(-30), predictedMs: 100 });
    const found = forecastOf([]);
    expect(reasonsOf(row, found)).toEqual([{ kind: "RUNNING", since: at(-30) }]);
    expect(timesOf(row, found)).toEqual({ startAt: at(-30), finishAt: at(70) });
    expect(timesOf({ ...row, predictedMs: 10 }, found).finishAt).toEqual(NOW);
    expect(placeOf(row, found)).toBeUndefined();
  });
});

describe("beyond the starts that are played", () => {
  test("those whose queue has no turn among them come after them, in the order of the turns", () => {
    const ofTenant = (i: number) => waiting({ tenantId: `t${String(i).padStart(4, "0")}` });
    const items = Array.from({ length: 3000 }, (_, i) => ofTenant(i));
    const found = forecastOf(items);
    const played = found.starts.length;
    expect(played).toBeLessThan(1100);
    for (const i of [1500, 2999]) {
      const place = placeOf(queued(items[i]!), found)!;
      expect(place.isEstimate).toBe(true);
      expect(place.startsBefore).toBeGreaterThanOrEqual(i - 100);
      expect(place.startsBefore).toBeLessThanOrEqual(i + 100);
    }
    const second = placeOf(queued(items[2999]!, { ahead: 1 }), found)!;
    expect(second.startsBefore).toBeGreaterThan(5000);
    expect(second.startsBefore).toBeLessThan(7000);
  });

  test("places and times are estimates by the pace of the queue", () => {
    const first = waiting();
    const other = waiting({ tenantId: "b" });
    const lines = [first, other].map((item) => ({ queue: item, items: [item], hasMore: true }));
    const found = forecastOf([], { lines });
    const row = queued(waiting(), { ahead: 5000 });
    expect(placeOf(row, found)).toEqual({ startsBefore: 10_000, isEstimate: true });
    const { startAt, finishAt } = timesOf(row, found);
    expect(startAt!.getTime() - NOW.getTime()).toBeCloseTo(999_000, -4);
    expect(finishAt!.getTime() - startAt!.getTime()).toBe(100);
    const { before, isEstimate } = toSchedulingReason(reasonsOf(row, found)[0]!).before as any;
    expect({ before, isEstimate }).toEqual({ before: undefined, isEstimate: true });
  });
});

describe("what was queued since the forecast", () => {
  test("is played with the rest, all of it at once", async () => {
    const items = [waiting(), waiting()];
    const found = forecastOf(items, { workers: [BUSY] });
    const late = waiting({ tenantId: "b", createdAt: at(1) });
    await found.include(late);
    expect(placeOf(queued(late), found)).toEqual({ startsBefore: 1, isEstimate: false });
    expect(found.starts).toHaveLength(3);
  });

  test("is asked about without being queued", () => {
    const items = [waiting(), waiting()];
    const found = forecastOf(items);
    expect(found.expect(waiting({ createdAt: at(0) }))?.startAt).toEqual(at(200));
    expect(found.starts).toHaveLength(2);
  });
});
