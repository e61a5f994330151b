import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { seededRandomness } from "../../inference/sampling/randomness.ts";
import {
  digestOf,
  draw,
  largestDifference,
  noteFeeds,
  openTinyPipelines,
  REQUEST,
  type TinyPipelines,
} from "./drawing.ts";

/** Other company changes the order of fp32 sums; a pixel near the border of two levels may go either way. */
const COMPANY_LEVELS = 2;

let tiny: TinyPipelines;
beforeAll(async () => {
  tiny = await openTinyPipelines();
});
afterAll(() => tiny.dispose());

function setup() {
  return {
    picturesOf: async (change: Partial<typeof REQUEST>) =>
      (await draw(tiny.pipelines, { ...REQUEST, ...change })).images,
  };
}

describe("a request", () => {
  test("gives the same bytes again", async () => {
    const { picturesOf } = setup();
    const first = await picturesOf({ count: 2 });
    expect(first).toHaveLength(2);
    expect(first[0]).toMatchObject({ width: 96, height: 96 });
    expect(digestOf(await picturesOf({ count: 2 }))).toBe(digestOf(first));
  });

  test.each<[string, Partial<typeof REQUEST>]>([
    ["seed", { seed: 2n }],
    ["upper half of the seed", { seed: 1n + 2n ** 32n }],
    ["prompt", { prompt: "a blue square at the bottom right" }],
    ["temperature", { temperature: 0.5 }],
    ["guidance scale", { guidanceScale: 5 }],
    ["guidance schedule", { guidanceSchedule: "linear" }],
    ["number of steps", { steps: 7 }],
    ["number of diffusion steps", { diffusionSteps: "6" }],
  ])("gives another picture with another %s", async (_, change) => {
    const { picturesOf } = setup();
    const [[original], [changed]] = [await picturesOf({}), await picturesOf(change)];
    expect(largestDifference(original!, changed!)).toBeGreaterThan(20);
  });

  test("gives finite pictures with a single diffusion step", async () => {
    const { states } = await draw(tiny.pipelines, { ...REQUEST, diffusionSteps: "1" });
    expect(states.at(-1)!.tokens[0]!.every(Number.isFinite)).toBe(true);
  });
});

describe("picture i of a request", () => {
  test("is the same in any company", async () => {
    const { picturesOf } = setup();
    const [alone, two, three] = [await picturesOf({}), await picturesOf({ count: 2 }), await picturesOf({ count: 3 })];
    expect(largestDifference(three[0]!, alone[0]!)).toBeLessThanOrEqual(COMPANY_LEVELS);
    expect(largestDifference(three[0]!, two[0]!)).toBeLessThanOrEqual(COMPANY_LEVELS);
    expect(largestDifference(three[1]!, two[1]!)).toBeLessThanOrEqual(COMPANY_LEVELS);
  });

  test("starts from the noise of its number", async () => {
    const starts: Float32Array[] = [];
    const noting = noteFeeds(tiny.pipelines, (graph, { x }) => {
      if (graph === "diffusion-head") starts.push(Float32Array.from(x!.data as Float32Array));
    });
    // A single step predicts all places of both pictures.
    await draw(noting, { ...REQUEST, count: 2, steps: 1 });
    const places = Uint32Array.from({ length: 36 }, (_, place) => place);
    const expected = new Float32Array(2 * 36 * 16);
    for (const image of [0, 1]) {
      const own = expected.subarray(image * 36 * 16, (image + 1) * 36 * 16);
      seededRandomness(REQUEST.seed).fillNoise(own, { image, step: 0, draw: 0, places });
    }
    expect(starts[0]).toEqual(expected);
  });

  test("differs from the others", async () => {
    const { picturesOf } = setup();
    const [first, second, third] = await picturesOf({ count: 3 });
    expect(largestDifference(first!, second!)).toBeGreaterThan(20);
    expect(largestDifference(second!, third!)).toBeGreaterThan(20);
  });
});
