import { expect, test } from "vitest";
import { GroupArrivals } from "../../inference/worker/group-arrivals.ts";

function setup() {
  const started: (readonly string[])[] = [];
  let wake = (): void => {};
  const next = (): Promise<void> =>
    new Promise((resolve) => {
      wake = resolve;
    });
  const arrivals = new GroupArrivals<string>((runs) => {
    started.push(runs);
    wake();
  });
  return { arrivals, started, next };
}

test("an attempt that is alone starts at once", () => {
  const { arrivals, started } = setup();
  arrivals.add("a", { id: "alone", size: 1 });
  expect(started).toEqual([["a"]]);
});

test("a group starts when the last one has come, whatever comes in between", () => {
  const { arrivals, started } = setup();
  arrivals.add("a", { id: "three", size: 3 });
  arrivals.add("b", { id: "three", size: 3 });
  arrivals.add("x", { id: "two", size: 2 });
  expect(started).toEqual([]);
  arrivals.add("c", { id: "three", size: 3 });
  expect(started).toEqual([["a", "b", "c"]]);
  arrivals.add("y", { id: "two", size: 2 });
  expect(started.at(-1)).toEqual(["x", "y"]);
});

test("a group that stays incomplete starts with those that have come; who comes later starts without them", async () => {
  const { arrivals, started, next } = setup();
  arrivals.add("a", { id: "three", size: 3 });
  arrivals.add("b", { id: "three", size: 3 });
  await next();
  expect(started).toEqual([["a", "b"]]);
  arrivals.add("c", { id: "three", size: 3 });
  await next();
  expect(started).toEqual([["a", "b"], ["c"]]);
});

test("a group starts early when it is told to, once", () => {
  const { arrivals, started } = setup();
  arrivals.add("a", { id: "two", size: 2 });
  arrivals.startNow("two");
  arrivals.startNow("two");
  arrivals.startNow("unknown");
  expect(started).toEqual([["a"]]);
});
