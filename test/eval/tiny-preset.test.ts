import { join } from "node:path";
import { expect, inject, test } from "vitest";
import { evaluate } from "../../inference/eval/evaluation.ts";
import { genevalPrompts } from "../../inference/eval/geneval-prompts.ts";
import { openPipelines } from "../../inference/pipelines/pipelines.ts";

const SEED = 99n;

/** A small part of the measurement in docs/tiny-model-card.md. */
test("the tiny preset draws what it is asked for at least as often as when it was shipped", async () => {
  const pipelines = openPipelines(join(inject("templateData"), "models/tiny"), { provider: "cpu", threads: 1 });
  try {
    const prompts = genevalPrompts(8, SEED);
    const { categories, overall } = await evaluate(pipelines, { prompts, pictures: 1, seed: SEED });
    // Of 8 pictures each; 8, 8, 8 and 7 when it was shipped, and 0.75 overall.
    expect(categories["single object"].right).toBeGreaterThanOrEqual(7);
    expect(categories["two objects"].right).toBeGreaterThanOrEqual(7);
    expect(categories.counting.right).toBeGreaterThanOrEqual(7);
    expect(categories.colours.right).toBeGreaterThanOrEqual(6);
    expect(overall).toBeGreaterThanOrEqual(0.7);
  } finally {
    await pipelines.close();
  }
});
