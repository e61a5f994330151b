import { join } from "node:path";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { editCases } from "../../inference/eval/edit-cases.ts";
import { askAbout, drawPrompt, editScene, type Outcome } from "../../inference/eval/evaluation.ts";
import { genevalPrompts } from "../../inference/eval/geneval-prompts.ts";
import { questionCases } from "../../inference/eval/question-cases.ts";
import { meanShare, type Tally, tally } from "../../inference/eval/score.ts";
import { openPipelines, type Pipelines } from "../../inference/pipelines/pipelines.ts";

/** A small part of the measurement in docs/tiny-model-card.md: what the shipped weights get with these seeds. */
const SEED = 7n;
const ONE_PICTURE = { pictures: 1, seed: SEED, speed: "exact" } as const;

let pipelines: Pipelines;
beforeAll(() => {
  pipelines = openPipelines(join(inject("templateData"), "models/tiny"), { provider: "cpu", threads: 1 });
});
afterAll(() => pipelines.close());

async function scoreOf<T>(
  cases: readonly T[],
  run: (one: T) => Promise<Outcome>,
): Promise<{ tallies: ReadonlyMap<string, Tally>; mean: number }> {
  const outcomes: Outcome[] = [];
  for (const one of cases) outcomes.push(await run(one));
  const tallies = tally(outcomes);
  return { tallies, mean: meanShare(tallies) };
}

test("the tiny preset draws what it is asked for at least as often as when it was shipped", async () => {
  const { tallies, mean } = await scoreOf(genevalPrompts(8, SEED), (each) => drawPrompt(pipelines, each, ONE_PICTURE));
  for (const [category, { right }] of tallies) expect(right, category).toBeGreaterThanOrEqual(6);
  expect(mean).toBeGreaterThanOrEqual(0.94); // 0.979 when it was shipped
});

test("it edits as often as then", async () => {
  const { mean } = await scoreOf(editCases(8, SEED), (each) => editScene(pipelines, each, ONE_PICTURE));
  expect(mean).toBeGreaterThanOrEqual(0.84); // 0.906
});

test("it answers as often as then", async () => {
  const { mean } = await scoreOf(questionCases(8, SEED), (each) => askAbout(pipelines, each));
  expect(mean).toBeGreaterThanOrEqual(0.8); // 0.854
});
