import { expect, test } from "vitest";
import { groupsToYield, type RunningMember } from "../../src/scheduler/preemption.ts";

const AT = { now: new Date(1_000_000), ageingMs: 600_000 };

const running = (change: Partial<RunningMember> = {}): RunningMember => ({
  priority: "BATCH",
  createdAt: new Date(900_000),
  stepsLeft: 10,
  isAskedToYield: false,
  ...change,
});

test("as many groups yield as something waits for, those with most left to do first", () => {
  const groups = [[running({ stepsLeft: 5 })], [running({ stepsLeft: 20 })], [running({ stepsLeft: 12 }), running()]];
  expect(groupsToYield(groups, { ...AT, count: 2 })).toEqual([groups[1], groups[2]]);
  expect(groupsToYield(groups, { ...AT, count: 0 })).toEqual([]);
  expect(groupsToYield(groups, { ...AT, count: 9 })).toHaveLength(3);
});

test.each<[string, Partial<RunningMember>]>([
  ["what is interactive", { priority: "INTERACTIVE" }],
  ["what is not of a batch", { priority: "STANDARD" }],
  ["a batch that has waited for long", { createdAt: new Date(400_000) }],
  ["what is in its last step", { stepsLeft: 1 }],
])("%s does not yield, nor what runs with it", (_, change) => {
  expect(groupsToYield([[running(change)], [running(), running(change)]], { ...AT, count: 2 })).toEqual([]);
});

test("who was asked makes room already", () => {
  const groups = [[running({ isAskedToYield: true })], [running()]];
  expect(groupsToYield(groups, { ...AT, count: 1 })).toEqual([]);
  expect(groupsToYield(groups, { ...AT, count: 2 })).toEqual([groups[1]]);
});
