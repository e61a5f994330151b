import { join } from "node:path";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { drawPrompt, type Outcome } from "../../inference/eval/evaluation.ts";
import { genevalPrompts } from "../../inference/eval/geneval-prompts.ts";
import { meanShare, tally } from "../../inference/eval/score.ts";
import { openPipelines, type Pipelines } from "../../inference/pipelines/pipelines.ts";

/** A small part of the measurement in docs/tiny-model-card.md: what the shipped weights got with these seeds. */
const SEED = 99n;

let pipelines: Pipelines;
beforeAll(() => {
  pipelines = openPipelines(join(inject("templateData"), "models/tiny"), { provider: "cpu", threads: 1 });
});
afterAll(() => pipelines.close());

async function each<T>(cases: readonly T[], run: (one: T) => Promise<Outcome>): Promise<readonly Outcome[]> {
  const outcomes: Outcome[] = [];
  for (const one of cases) outcomes.push(await run(one));
  return outcomes;
}

test("the tiny preset draws what it is asked for at least as often as when it was shipped", async () => {
  const options = { pictures: 1, seed: SEED };
  const scores = tally(await each(genevalPrompts(8, SEED), (prompt) => drawPrompt(pipelines, prompt, options)));
  // Of 8 pictures each; 8, 8, 8 and 7 when it was shipped, and 0.75 overall.
  expect(scores.get("single object")?.right).toBeGreaterThanOrEqual(7);
  expect(scores.get("two objects")?.right).toBeGreaterThanOrEqual(7);
  expect(scores.get("counting")?.right).toBeGreaterThanOrEqual(7);
  expect(scores.get("colours")?.right).toBeGreaterThanOrEqual(6);
  expect(meanShare(scores)).toBeGreaterThanOrEqual(0.7);
});
