import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { editCases } from "../../inference/eval/edit-cases.ts";
import { drawPrompt, editScene } from "../../inference/eval/evaluation.ts";
import { genevalPrompts } from "../../inference/eval/geneval-prompts.ts";
import { encodeCheckpoint } from "../../inference/pipelines/mar-checkpoint.ts";
import { drawBatch } from "../../inference/pipelines/text-to-image-batch.ts";
import type { Speed } from "../../inference/sampling/speed.ts";
import {
  digestOf,
  draw,
  largestDifference,
  noteFeeds,
  openTinyPipelines,
  REQUEST,
  type TinyPipelines,
} from "./drawing.ts";

const SPEEDS = ["fast", "faster"] as const satisfies readonly Speed[];
/** Enough steps for every kind of run: guidance of its own, reused guidance, and a rest. */
const LONG = { ...REQUEST, steps: 18 };
const NEVER = new AbortController().signal;

let tiny: TinyPipelines;
beforeAll(async () => {
  tiny = await openTinyPipelines();
});
afterAll(() => tiny.dispose());

/** Rows of every run of the decoder: one for each branch. */
async function decoderRows(request: typeof LONG): Promise<number[]> {
  const rows: number[] = [];
  const noting = noteFeeds(tiny.pipelines, (graph, feeds) => {
    if (graph === "mar-decoder") rows.push(feeds["predict"]?.dims[0] ?? 0);
  });
  await draw(noting, request);
  return rows;
}

test("contexts and guidance are computed as rarely as the speed says", async () => {
  // The branches of the first step apart.
  expect(await decoderRows({ ...LONG, speed: "exact" })).toEqual([1, 1, ...Array(17).fill(2)]);
  expect(await decoderRows({ ...LONG, speed: "fast" })).toEqual([1, 1, ...Array(8).fill(2)]);
  expect(await decoderRows({ ...LONG, speed: "faster" })).toEqual([1, 1, 1, 2, 1, 2]);
  expect(await decoderRows({ ...LONG, speed: "faster", guidanceScale: 1 })).toEqual([1, 1, 1, 1, 1]);
});

describe.each(SPEEDS)("%s", (speed) => {
  const request = { ...LONG, speed, count: 2 };

  test("draws what it is asked for", async () => {
    for (const prompt of genevalPrompts(1, 7n)) {
      const { verdicts } = await drawPrompt(tiny.pipelines, prompt, { pictures: 1, seed: 7n, speed });
      expect(verdicts, prompt.text).toEqual([{ isRight: true, isPure: true }]);
    }
  });

  test("edits as it is asked to, at most one of four left wrong, as exact does", async () => {
    const wrong: string[] = [];
    for (const edit of editCases(1, 7n)) {
      const { verdicts } = await editScene(tiny.pipelines, edit, { pictures: 1, seed: 7n, speed });
      if (!verdicts.every(({ isRight }) => isRight)) wrong.push(edit.instruction);
    }
    expect(wrong.length, wrong.join(", ")).toBeLessThanOrEqual(1);
  });

  test("gives the same bytes again, and after going on from any checkpoint", async () => {
    const whole = await draw(tiny.pipelines, request);
    expect(whole.states.at(-1)!.known.every((known) => known.every((one) => one === 1))).toBe(true);
    for (const state of whole.states) {
      const resumed = await draw(tiny.pipelines, request, { from: encodeCheckpoint(state) });
      expect(digestOf(resumed.images), `after step ${state.stepsDone}`).toBe(digestOf(whole.images));
    }
  });

  test("gives in a group what it gives alone", async () => {
    const requests = [request, { ...request, prompt: "two stars", seed: 5n, count: 1 }];
    const together = await drawBatch(tiny.pipelines, requests, NEVER);
    for (const [i, each] of requests.entries()) {
      const { images } = await draw(tiny.pipelines, each);
      for (const [j, image] of images.entries())
        expect(largestDifference(together[i]![j]!, image)).toBeLessThanOrEqual(1);
    }
  });
});
