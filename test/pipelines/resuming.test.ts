import { afterAll, beforeAll, expect, test } from "vitest";
import { encodeCheckpoint } from "../../inference/pipelines/mar-checkpoint.ts";
import { digestOf, draw, openTinyPipelines, REQUEST, type TinyPipelines } from "./drawing.ts";

let tiny: TinyPipelines;
beforeAll(async () => {
  tiny = await openTinyPipelines();
});
afterAll(() => tiny.dispose());

/** Two pictures drawn in one go. */
async function setup() {
  const request = { ...REQUEST, count: 2 };
  const whole = await draw(tiny.pipelines, request);
  tiny.takeRuns();
  return { request, whole };
}

test("going on after any step gives the same bytes", async () => {
  const { request, whole } = await setup();
  expect(whole.states.map(({ stepsDone }) => stepsDone)).toEqual([1, 2, 3, 4, 5, 6]);
  for (const state of whole.states) {
    const resumed = await draw(tiny.pipelines, request, { from: state });
    expect(digestOf(resumed.images), `after step ${state.stepsDone}`).toBe(digestOf(whole.images));
    expect(resumed.states.map(({ stepsDone }) => stepsDone)).toEqual([2, 3, 4, 5, 6].slice(state.stepsDone - 1));
  }
});

test("going on from a checkpoint gives the same bytes", async () => {
  const { request, whole } = await setup();
  const resumed = await draw(tiny.pipelines, request, { from: encodeCheckpoint(whole.states[2]!) });
  expect(digestOf(resumed.images)).toBe(digestOf(whole.images));
});

test("finished steps are not repeated", async () => {
  const { request, whole } = await setup();
  for (const stepsDone of [1, 4, 6]) {
    await draw(tiny.pipelines, request, { from: whole.states[stepsDone - 1]! });
    const decoded = tiny.takeRuns().filter((graph) => graph === "mar-decoder");
    expect(decoded).toHaveLength(request.steps - stepsDone);
  }
});

test("the state that was given is left as it is", async () => {
  const { request, whole } = await setup();
  const [state] = whole.states;
  const before = state!.tokens.map((values) => values.slice());
  await draw(tiny.pipelines, request, { from: state! });
  expect(state!.tokens).toEqual(before);
});

test("states of earlier steps do not change while the drawing goes on", async () => {
  const { whole } = await setup();
  for (const { tokens, known } of whole.states) {
    for (const [image, isKnown] of known.entries()) {
      const hasValue = Array.from(isKnown, (_, place) =>
        tokens[image]!.subarray(16 * place, 16 * place + 16).some((value) => value !== 0),
      );
      expect(hasValue).toEqual(Array.from(isKnown, (value) => value === 1));
    }
  }
});
