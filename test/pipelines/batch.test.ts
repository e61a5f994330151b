import { afterAll, beforeAll, expect, test } from "vitest";
import { drawBatch } from "../../inference/pipelines/text-to-image-batch.ts";
import { draw, largestDifference, noteFeeds, openTinyPipelines, REQUEST, type TinyPipelines } from "./drawing.ts";

let tiny: TinyPipelines;
beforeAll(async () => {
  tiny = await openTinyPipelines();
});
afterAll(() => tiny.dispose());

const REQUESTS = [
  REQUEST,
  { ...REQUEST, prompt: "two stars", seed: 2n },
  { ...REQUEST, prompt: "an orange diamond above a pink heart", seed: 3n },
];
const NEVER = new AbortController().signal;

test("pictures that are drawn together are those that are drawn alone, but for the order of sums", async () => {
  const requests = REQUESTS.map((request) => ({ ...request, count: 2 }));
  const together = await drawBatch(tiny.pipelines, requests, NEVER);
  for (const [index, request] of requests.entries()) {
    const alone = await draw(tiny.pipelines, request);
    for (const [i, image] of alone.images.entries()) {
      expect(largestDifference(image, together[index]![i]!)).toBeLessThanOrEqual(1);
    }
  }
});

test("they share every graph run of a step", async () => {
  tiny.takeRuns();
  await drawBatch(tiny.pipelines, REQUESTS.slice(0, 1), NEVER);
  const one = tiny.takeRuns().filter((graph) => graph === "mar-decoder" || graph === "diffusion-condition");
  await drawBatch(tiny.pipelines, REQUESTS, NEVER);
  const three = tiny.takeRuns().filter((graph) => graph === "mar-decoder" || graph === "diffusion-condition");
  expect(three).toEqual(one);
});

test("a prompt that the model cannot read is refused before anything is drawn", async () => {
  tiny.takeRuns();
  const requests = [...REQUESTS, { ...REQUEST, prompt: "1".repeat(1000) }];
  await expect(drawBatch(tiny.pipelines, requests, NEVER)).rejects.toThrow("Shorten it.");
  expect(tiny.takeRuns()).toEqual([]);
});

test("a drawing that fails ends the others", async () => {
  const failing = noteFeeds(tiny.pipelines, (graph) => {
    if (graph === "vae-decoder") throw new Error("out of memory");
  });
  tiny.takeRuns();
  await expect(drawBatch(failing, REQUESTS, NEVER)).rejects.toThrow("out of memory");
  expect(tiny.takeRuns()).not.toContain("vae-decoder");
});
