import { afterAll, beforeAll, expect, test } from "vitest";
import { drawBatch } from "../../inference/pipelines/text-to-image-batch.ts";
import { draw, largestDifference, openTinyPipelines, REQUEST, type TinyPipelines } from "./drawing.ts";

let tiny: TinyPipelines;
beforeAll(async () => {
  tiny = await openTinyPipelines();
});
afterAll(() => tiny.dispose());

const { seed: _, prompt: __, unconditionalPrompt, ...SETTINGS } = REQUEST;
const PROMPTS = [
  { prompt: "a red circle at the top left", seed: 1n },
  { prompt: "two stars", seed: 2n },
  { prompt: "an orange diamond above a pink heart", seed: 3n },
];
const OPTIONS = { unconditionalPrompt, signal: new AbortController().signal };

test("pictures that are drawn together are those that are drawn alone, but for the order of sums", async () => {
  const together = await drawBatch(tiny.pipelines, PROMPTS, { ...SETTINGS, count: 2 }, OPTIONS);
  for (const [index, each] of PROMPTS.entries()) {
    const alone = await draw(tiny.pipelines, { ...REQUEST, ...each, count: 2 });
    for (const [i, image] of alone.images.entries()) {
      expect(largestDifference(image, together[index]![i]!)).toBeLessThanOrEqual(1);
    }
  }
});

test("they share every graph run of a step", async () => {
  tiny.takeRuns();
  await drawBatch(tiny.pipelines, PROMPTS.slice(0, 1), SETTINGS, OPTIONS);
  const one = tiny.takeRuns().filter((graph) => graph === "mar-decoder" || graph === "diffusion-head");
  await drawBatch(tiny.pipelines, PROMPTS, SETTINGS, OPTIONS);
  const three = tiny.takeRuns().filter((graph) => graph === "mar-decoder" || graph === "diffusion-head");
  expect(three).toEqual(one);
});

test("a prompt that the model cannot read is refused before anything is drawn", async () => {
  tiny.takeRuns();
  const prompts = [...PROMPTS, { prompt: "1".repeat(1000), seed: 4n }];
  await expect(drawBatch(tiny.pipelines, prompts, SETTINGS, OPTIONS)).rejects.toThrow("Shorten it.");
  expect(tiny.takeRuns()).toEqual([]);
});
