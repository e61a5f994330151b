import { describe, expect, test } from "vitest";
import { Durations } from "../../src/scheduler/durations.ts";
import { type Forecast, forecast, type PoolState, type Waiting } from "../../src/scheduler/forecast.ts";
import { at, IDLE, NOW, poolOf, waiting } from "../support/pool-state.ts";

const play = (items: readonly Waiting[], change: Partial<PoolState> = {}): Forecast => forecast(poolOf(items, change));

const timesOf = ({ starts }: Forecast) =>
  starts.map(({ waiting, startAt, finishAt }) => [
    waiting.id,
    startAt && startAt.getTime() - NOW.getTime(),
    finishAt && finishAt.getTime() - NOW.getTime(),
  ]);

const orderOf = ({ starts }: Forecast) => starts.map(({ waiting }) => waiting.id);

describe("a forecast", () => {
  test("starts what waits one by one, each when the worker is done with the one before", () => {
    const [a, b] = [waiting({ steps: 10 }), waiting({ steps: 20 })];
    const busy = { ...IDLE, freeAt: at(50), runs: [waiting()] };
    expect(timesOf(play([a, b], { workers: [busy] }))).toEqual([
      [a.id, 50, 150],
      [b.id, 150, 350],
    ]);
  });

  test("gives tenants their turns, by the tags that are stored", () => {
    const flood = [1, 2, 3].map(() => waiting());
    const other = [1, 2].map(() => waiting({ tenantId: "b" }));
    const tags = [
      { tenantId: "a", userId: null, tag: 1150, floors: [] },
      { tenantId: "a", userId: "a1", tag: 1150, floors: [] },
      { tenantId: "b", userId: null, tag: 1000, floors: [] },
      { tenantId: "b", userId: "b1", tag: 1000, floors: [] },
    ];
    const [a1, a2, a3, b1, b2] = [...flood, ...other].map(({ id }) => id);
    expect(orderOf(play([...flood, ...other], { turns: { floors: [], tags } }))).toEqual([b1, b2, a1, a2, a3]);
  });

  test("draws those together that fit, and charges them for that", () => {
    const items = [waiting(), waiting({ steps: 20 }), waiting()];
    const durations = new Durations();
    const { task } = items[0]!;
    durations.learn({ preset: "tiny", task, groupPictures: 1 }, 100);
    durations.learn({ preset: "tiny", task, groupPictures: 2 }, 70);
    const state = { workers: [{ ...IDLE, slots: 2 }], durations };
    const [first, second, third] = items.map(({ id }) => id);
    expect(timesOf(play(items, state))).toEqual([
      [first, 0, 140],
      [third, 0, 140],
      [second, 140, expect.any(Number)],
    ]);
  });

  test("starts no more at a time than limits let run", () => {
    const items = [1, 2, 3].map(() => waiting());
    const other = waiting({ tenantId: "b" });
    const limits = [{ level: "TENANT", tenantId: "a", subjectId: "a", max: 1, held: 1 }] as const;
    const busy = { ...IDLE, freeAt: at(40), runs: [waiting()] };
    const found = play([...items, other], { limits, workers: [IDLE, IDLE, busy] });
    expect(timesOf(found).map(([id, start]) => [id, start])).toEqual([
      [other.id, 0],
      [items[0]!.id, 40],
      [items[1]!.id, 140],
      [items[2]!.id, 240],
    ]);
  });

  test("starts nothing where a limit lets nothing run, and nothing behind its deadline", () => {
    const limits = [{ level: "MEMBER", tenantId: "b", subjectId: "b1", max: 0, held: 0 }] as const;
    const items = [waiting(), waiting({ deadlineAt: at(50) }), waiting({ tenantId: "b" })];
    const found = play(items, { limits });
    expect(orderOf(found)).toEqual([items[0]!.id]);
    expect(found.isComplete).toBe(true);
  });

  test("waits for the end of a pause, and lets others go first meanwhile", () => {
    const items = [waiting({ notBefore: at(30) }), waiting({ steps: 1 }), waiting({ notBefore: at(5000) })];
    expect(timesOf(play(items)).map(([id, start]) => [id, start])).toEqual([
      [items[1]!.id, 0],
      [items[0]!.id, 30],
      [items[2]!.id, 5000],
    ]);
  });

  test("lets BATCH wait for others, until it has aged", () => {
    const batch = [1, 2].map(() => waiting({ tenantId: "b", priority: "BATCH", createdAt: at(-599_750) }));
    const others = [1, 2, 3, 4, 5].map(() => waiting({ tenantId: "c" }));
    const order = orderOf(play([...batch, ...others]));
    expect(order.indexOf(batch[0]!.id)).toBe(3); // at 300 ms, when it is STANDARD
  });

  test("knows the order, and no times, of what no worker that lives serves", () => {
    const items = [waiting({ preset: "large" }), waiting({ preset: "large" })];
    expect(timesOf(play(items))).toEqual(items.map(({ id }) => [id, undefined, undefined]));
  });

  test("starts those with the lowest tags, however many others there are", () => {
    const tenants = Array.from({ length: 1500 }, (_, i) => ({ tenantId: `t${i}`, tag: (i * 7919) % 1500 }));
    const tags = tenants.flatMap(({ tenantId, tag }) =>
      [null, `${tenantId}1`].map((userId) => ({ tenantId, userId, tag, floors: [] })),
    );
    const items = tenants.map(({ tenantId }) => waiting({ tenantId, steps: 1000 }));
    const { starts, isComplete } = play(items, { turns: { floors: [], tags } });
    const lowest = tenants.toSorted((a, b) => a.tag - b.tag).slice(0, 1000);
    expect(starts.map(({ waiting }) => waiting.tenantId)).toEqual(lowest.map(({ tenantId }) => tenantId));
    expect(isComplete).toBe(false);
  });

  test("lets others stand for those that were not read, and ends after a thousand starts", () => {
    const [first] = [waiting()];
    const { starts, isComplete } = play([], { lines: [{ queue: first!, items: [first!], hasMore: true }] });
    expect(starts).toHaveLength(1000);
    expect(starts.map(({ isKnown }) => isKnown).slice(0, 3)).toEqual([true, false, false]);
    expect(isComplete).toBe(false);
  });
});
