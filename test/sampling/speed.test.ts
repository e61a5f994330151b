import { describe, expect, test } from "vitest";
import { maskSteps } from "../../inference/sampling/mask-schedule.ts";
import { resumeStep, SPEEDS, type StepRun, stepRuns } from "../../inference/sampling/speed.ts";

const runsOf = (speed: (typeof SPEEDS)[number], { steps = 18, tokenCount = 36, isGuided = true } = {}) =>
  stepRuns(maskSteps({ tokenCount, steps }), speed, isGuided);

const reusing = (runs: readonly StepRun[]): boolean[] => runs.map(({ reusesGuidance }) => reusesGuidance);

describe.each(SPEEDS)("%s", (speed) => {
  test.each([1, 2, 3, 18, 36])("takes each of %s steps once, in their order", (steps) => {
    const runs = runsOf(speed, { steps });
    expect(runs.flatMap((run) => run.steps)).toEqual(maskSteps({ tokenCount: 36, steps }));
    let done = 0;
    for (const { from, to, steps: taken } of runs) {
      expect([from, to]).toEqual([done, done + taken.length]);
      done = to;
    }
  });

  test("begins with a context of its own and guidance of its own", () => {
    expect(runsOf(speed)[0]).toMatchObject({ from: 0, reusesGuidance: false });
  });

  test("takes no more diffusion steps later than earlier, and some to the end", () => {
    const shares = runsOf(speed).map(({ diffusionShare }) => diffusionShare);
    expect(shares).toEqual([...shares].sort((a, b) => b - a));
    for (const share of shares) expect(share > 0 && share <= 1).toBe(true);
  });

  test("reuses no guidance where there is none", () => {
    expect(reusing(runsOf(speed, { isGuided: false }))).not.toContain(true);
  });
});

test("exact approximates nothing", () => {
  for (const { steps, diffusionShare, reusesGuidance } of runsOf("exact")) {
    expect({ count: steps.length, diffusionShare, reusesGuidance }).toEqual({
      count: 1,
      diffusionShare: 1,
      reusesGuidance: false,
    });
  }
});

test("fast has a context for every second step; faster for every fourth, with guidance for every second one", () => {
  expect(runsOf("fast").map(({ to }) => to)).toEqual([2, 4, 6, 8, 10, 12, 14, 16, 18]);
  expect(reusing(runsOf("fast"))).not.toContain(true);
  expect(runsOf("faster").map(({ to }) => to)).toEqual([4, 8, 12, 16, 18]);
  expect(reusing(runsOf("faster"))).toEqual([false, true, false, true, false]);
});

describe("a drawing goes on", () => {
  test("where it stood, when that needs nothing but tokens", () => {
    for (const step of [0, 1, 7, 18]) expect(resumeStep(runsOf("exact"), step)).toBe(step);
    for (const step of [0, 2, 16, 18]) expect(resumeStep(runsOf("fast"), step)).toBe(step);
    for (const step of [0, 8, 16, 18]) expect(resumeStep(runsOf("faster"), step)).toBe(step);
  });

  test("from the last guidance of its own, when it stood at a run that reuses guidance", () => {
    expect(resumeStep(runsOf("faster"), 4)).toBe(0);
    expect(resumeStep(runsOf("faster"), 12)).toBe(8);
    expect(resumeStep(runsOf("faster", { isGuided: false }), 12)).toBe(12);
  });

  test("from the start of a run, when it stood in the middle of one", () => {
    expect(resumeStep(runsOf("fast"), 7)).toBe(6);
    expect(resumeStep(runsOf("faster"), 17)).toBe(16);
  });
});
