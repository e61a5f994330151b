import { expect, test } from "vitest";
import { WorkerFaults } from "../../src/pool/worker-faults.ts";

test("a worker that fails one generation again and again is not to blame", () => {
  const faults = new WorkerFaults();
  const failures = [["a", "b", "poison", "c"], ["poison", "c"], ["poison"], ["poison"], ["poison"]];
  for (const suspects of failures) expect(faults.failed("w", suspects)).toBeUndefined();
});

test("a worker that fails different generations is quarantined, each time for twice as long, for ten minutes at most", () => {
  const faults = new WorkerFaults();
  expect(faults.failed("w", ["a", "b"])).toBeUndefined();
  const quarantines = Array.from({ length: 8 }, (_, i) => faults.failed("w", [`${i}`]));
  expect(quarantines).toEqual([10_000, 20_000, 40_000, 80_000, 160_000, 320_000, 600_000, 600_000]);
});

test("it is to blame for what it fails from then on, also for the same", () => {
  const faults = new WorkerFaults();
  expect(["a", "b", "b", "a"].map((id) => faults.failed("w", [id]))).toEqual([undefined, 10_000, 20_000, 40_000]);
});

test("what an earlier leader had quarantined is quarantined for longer the next time", () => {
  for (const [before, next] of [
    [3000, 20_000],
    [10_000, 20_000],
    [35_000, 80_000],
    [600_000, 600_000],
  ] as const) {
    const faults = new WorkerFaults();
    faults.restore("w", before);
    expect(faults.failed("w", ["a"])).toBe(next);
  }
});

test("a success is forgiveness, and a worker's faults are its own", () => {
  const faults = new WorkerFaults();
  faults.failed("w", ["a"]);
  expect(faults.failed("other", ["b"])).toBeUndefined();
  expect(faults.failed("w", ["c"])).toBe(10_000);
  faults.forget("w");
  expect(faults.failed("w", ["d"])).toBeUndefined();
  expect(faults.failed("w", ["e"])).toBe(10_000);
});

test("a generation that failed alone on another worker is to blame, not the next worker", () => {
  const faults = new WorkerFaults();
  faults.failed("first", ["poison"]);
  faults.failed("first", ["other poison"]);
  for (const id of ["poison", "other poison", "poison"]) expect(faults.failed("second", [id])).toBeUndefined();
});
