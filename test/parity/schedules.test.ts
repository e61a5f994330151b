import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type DiffusionSchedule, diffusionSchedule } from "../../inference/sampling/diffusion-schedule.ts";
import { maskSteps } from "../../inference/sampling/mask-schedule.ts";
import { goldenConfigurations } from "../support/golden.ts";

/**
 * Relative. Both sides compute in fp64 from the same formulas, but cosines may differ in the last bit between libraries,
 * and 1 - (almost 1) of the first betas loses 4 of the 16 digits.
 */
const LIMIT = 1e-10;

interface RecordedSchedules {
  /** Predicted tokens of every step, by "tokens/steps"; 0 where the original has nothing to predict. */
  readonly mask: Readonly<Record<string, readonly number[]>>;
  /** Tables by notation. */
  readonly diffusion: Readonly<Record<string, Readonly<Record<string, readonly number[]>>>>;
}

const recorded = JSON.parse(readFileSync("test/golden/common/schedules.json", "utf8")) as RecordedSchedules;

/** Names of the tables in schedules.json and in schedule.safetensors. */
const TABLES: Readonly<Record<string, keyof DiffusionSchedule>> = {
  timestep_map: "times",
  betas: "betas",
  alphas_cumprod: "alphasCumprod",
  log_var_floor: "posteriorLogVarianceClipped",
  posterior_log_variance_clipped: "posteriorLogVarianceClipped",
  log_betas: "logBetas",
  sqrt_recip: "sqrtRecipAlphasCumprod",
  sqrt_recip_alphas_cumprod: "sqrtRecipAlphasCumprod",
  sqrt_recipm1: "sqrtRecipm1AlphasCumprod",
  sqrt_recipm1_alphas_cumprod: "sqrtRecipm1AlphasCumprod",
  coef1: "posteriorMeanCoef1",
  posterior_mean_coef1: "posteriorMeanCoef1",
  coef2: "posteriorMeanCoef2",
  posterior_mean_coef2: "posteriorMeanCoef2",
};

function expectTable(schedule: DiffusionSchedule, name: string, expected: readonly number[]): void {
  const table = TABLES[name];
  if (table === undefined) throw new Error(`unknown table ${name}`);
  const actual = schedule[table];
  expect(actual.length, name).toBe(expected.length);
  for (const [step, value] of expected.entries()) {
    const error = Math.abs(actual[step]! - value);
    expect(error, `${name}[${step}] = ${actual[step]}, recorded ${value}`).toBeLessThanOrEqual(LIMIT * Math.abs(value));
  }
}

describe("the mask schedule", () => {
  test.each(Object.entries(recorded.mask))("of %s predicts the recorded numbers of tokens", (name, counts) => {
    const [tokenCount = 0, steps = 0] = name.split("/").map(Number);
    const ours = maskSteps({ tokenCount, steps });
    expect(ours.map(({ predicted }) => predicted)).toEqual(counts.filter((count) => count > 0));
    expect(ours.map(({ step }) => step)).toEqual([...counts.keys()].filter((step) => counts[step]! > 0));
    let visible = 0;
    for (const step of ours) {
      expect(step.visible).toBe(visible);
      visible += step.predicted;
    }
    expect(visible).toBe(tokenCount);
  });
});

describe("the diffusion schedule", () => {
  test.each(Object.entries(recorded.diffusion))("of %s has the recorded tables", (notation, tables) => {
    const schedule = diffusionSchedule(notation);
    for (const [name, values] of Object.entries(tables)) {
      // For a single step the original's floor is empty, and it cannot sample.
      if (values.length > 0) expectTable(schedule, name, values);
    }
  });

  test.each(goldenConfigurations())("of $name has the recorded tables", ({ folder }) => {
    const { mar } = JSON.parse(readFileSync(join(folder, "config.json"), "utf8")) as {
      mar: { num_sampling_steps: string };
    };
    const tables = readTables(join(folder, "schedule.safetensors"));
    expect(tables.length).toBeGreaterThanOrEqual(9);
    const schedule = diffusionSchedule(mar.num_sampling_steps);
    for (const { name, values } of tables) expectTable(schedule, name, values);
  });

  /** The check values of UniPic's clipped cosine schedule; they tell its maximum beta of 0.2 from MAR's 0.999. */
  test("of 100 has the published check values", () => {
    const schedule = diffusionSchedule("100");
    expect(schedule.betas[0]).toBeCloseTo(4.12842248e-5, 13);
    expect(schedule.betas[1]).toBeCloseTo(6.79840069e-4, 12);
    expect(schedule.betas[98]).toBeCloseTo(0.74993928, 8);
    expect(schedule.betas[99]).toBeCloseTo(0.89128197, 8);
    expect(schedule.alphasCumprod[99]).toBeCloseTo(2.6403e-5, 9);
    expect(schedule.sqrtRecipAlphasCumprod[99]).toBeCloseTo(194.614, 3);
    expect(schedule.posteriorLogVarianceClipped[0]).toBeCloseTo(-10.15394511, 8);
    expect(schedule.posteriorLogVarianceClipped[1]).toBeCloseTo(-10.15394511, 8);
    expect(schedule.posteriorLogVarianceClipped[2]).toBeCloseTo(-7.71591137, 8);
    expect(schedule.posteriorLogVarianceClipped[99]).toBeCloseTo(-0.11531092, 8);
    expect(schedule.posteriorMeanCoef1[99]).toBeCloseTo(0.0138899955, 10);
    expect(schedule.posteriorMeanCoef2[99]).toBeCloseTo(0.3296528032, 10);
  });

  test.each(["1", "2", "100", "1000", "1,1", "ddim50"])("of %s has finite coefficients only", (notation) => {
    for (const [name, table] of Object.entries(diffusionSchedule(notation))) {
      expect((table as number[]).every(Number.isFinite), name).toBe(true);
    }
  });

  test.each([
    ["100", 0.05, 5, [0, 999]],
    ["100", 0.5, 50, [0, 999]],
    ["25", 0.05, 5, [0, 999]], // no fewer than five
    ["3", 0.05, 3, [0, 999]], // which has fewer itself
    ["10,5", 0.4, 6, [0, 999]],
  ])("%s at a share of %s keeps %s of its own steps, evenly spread", (notation, share, count, ends) => {
    const { times, ...tables } = diffusionSchedule(notation, share);
    const all = diffusionSchedule(notation).times;
    expect(times).toHaveLength(count);
    expect([times[0], times.at(-1)]).toEqual(ends);
    const indices = times.map((time) => all.indexOf(time));
    const gaps = indices.slice(1).map((index, i) => index - (indices[i] ?? 0));
    expect(Math.min(...indices, ...gaps)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...gaps) - Math.min(...gaps)).toBeLessThanOrEqual(1);
    for (const table of Object.values(tables)) expect((table as number[]).every(Number.isFinite)).toBe(true);
  });

  test("a share of all steps changes nothing", () => {
    expect(diffusionSchedule("10,5,20", 1)).toEqual(diffusionSchedule("10,5,20"));
  });

  test.each([
    ["", /"" is no number of diffusion steps\. Write a number \(100\), sections \(10,5,20\) or ddim50/],
    ["fast", /"fast" is no number of diffusion steps/],
    ["1e2", /"1e2" is no number of diffusion steps/],
    ["10,,5", /"10,,5" is no number of diffusion steps/],
    ["-5", /"-5" is no number of diffusion steps/],
    ["ddim", /"ddim" is no number of diffusion steps/],
    ["0", /asks for 0 diffusion steps in a section of 1000\. Use 1 to 1000/],
    ["1001", /asks for 1001 diffusion steps in a section of 1000/],
    ["10,600", /asks for 600 diffusion steps in a section of 500\. Use 1 to 500/],
    ["ddim300", /"ddim300": no integer stride gives exactly 300 of 1000 steps/],
    ["ddim0", /"ddim0": no integer stride/],
  ])('refuses "%s" in clear words', (notation, message) => {
    expect(() => diffusionSchedule(notation)).toThrow(message);
  });
});

/** Every F64 and I64 tensor of a safetensors file, as numbers: the checkpoint reader would round them to fp32. */
function readTables(file: string): readonly { name: string; values: readonly number[] }[] {
  const bytes = readFileSync(file);
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString("utf8", 8, start)) as Record<
    string,
    { dtype: string; data_offsets: [number, number] }
  >;
  return Object.entries(header)
    .filter(([name]) => name !== "__metadata__")
    .map(([name, { dtype, data_offsets }]) => {
      const [from, to] = data_offsets.map((offset) => start + offset) as [number, number];
      const buffer = new Uint8Array(bytes.subarray(from, to)).buffer;
      const values = dtype === "F64" ? [...new Float64Array(buffer)] : [...new BigInt64Array(buffer)].map(Number);
      return { name, values };
    });
}
