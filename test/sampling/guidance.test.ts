import { expect, test } from "vitest";
import { type GuidanceSchedule, guidanceScaleAt } from "../../inference/sampling/guidance.ts";
import { maskSteps } from "../../inference/sampling/mask-schedule.ts";

function scalesOf(schedule: GuidanceSchedule, { scale = 3, tokenCount = 36, steps = 6 } = {}): number[] {
  return maskSteps({ tokenCount, steps }).map((step) => guidanceScaleAt(step, { scale, schedule, tokenCount }));
}

test("constant guidance has the same scale at every step", () => {
  expect(scalesOf("constant")).toEqual([3, 3, 3, 3, 3, 3]);
});

test("linear guidance grows from 1 with the share of known tokens", () => {
  // Masked after each step: floor(16 cos(pi/2 * s/4)) = 14, 11, 6, and at least 1 in the last one.
  const known = [2, 5, 10, 15];
  expect(scalesOf("linear", { tokenCount: 16, steps: 4 })).toEqual(known.map((count) => 1 + (2 * count) / 16));
});

test("linear guidance follows the schedule's own count in the last step, which predicts all that is left", () => {
  expect(scalesOf("linear", { tokenCount: 16, steps: 1 })).toEqual([1 + (2 * 15) / 16]);
});

test.each(["constant", "linear"] as const)("%s guidance of scale 1 is 1 throughout", (schedule) => {
  expect(new Set(scalesOf(schedule, { scale: 1 }))).toEqual(new Set([1]));
});
