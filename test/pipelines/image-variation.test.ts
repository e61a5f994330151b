import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { render } from "../../inference/eval/shapes-world.ts";
import { type ImageVariationRequest, imageVariation } from "../../inference/pipelines/image-variation.ts";
import { InvalidRequestError } from "../../inference/pipelines/invalid-request.ts";
import type { MarState } from "../../inference/pipelines/mar-sampler.ts";
import { encodePixels } from "../../inference/pipelines/source-picture.ts";
import { collect, digestOf, draw, openTinyPipelines, REQUEST, type TinyPipelines } from "./drawing.ts";

const { prompt: _, ...SETTINGS } = REQUEST;
const VARIATION: ImageVariationRequest = {
  ...SETTINGS,
  source: render([{ shape: "circle", color: "red", x: 48, y: 48 }]),
  strength: 0.5,
};
const CHANNELS = 16;

let tiny: TinyPipelines;
beforeAll(async () => {
  tiny = await openTinyPipelines();
});
afterAll(() => tiny.dispose());

const vary = (change: Partial<ImageVariationRequest> = {}, from?: MarState) =>
  collect(imageVariation(tiny.pipelines, { ...VARIATION, ...change }, { from, signal: new AbortController().signal }));

/** Places whose latents are those of the source: [count][N] */
async function placesThatStay(change: Partial<ImageVariationRequest>): Promise<boolean[][]> {
  const source = await encodePixels(tiny.pipelines.model, VARIATION.source);
  const { states } = await vary(change);
  return states.at(-1)!.tokens.map((tokens) =>
    Array.from({ length: tokens.length / CHANNELS }, (_, place) => {
      const row = (values: Float32Array) => values.subarray(place * CHANNELS, (place + 1) * CHANNELS).join();
      return row(tokens) === row(source);
    }),
  );
}

test.each([
  [1, 0],
  [0.5, 18],
  [0.25, 27],
  [0.001, 35], // at least one is drawn
])("with a strength of %d, %d of 36 tokens stay, others in each picture", async (strength, count) => {
  const [first = [], second = []] = await placesThatStay({ strength, count: 2 });
  for (const places of [first, second]) expect(places.filter(Boolean)).toHaveLength(count);
  if (count > 0) expect(first).not.toEqual(second);
});

test("the result depends on the source, the strength, the prompt and the seed, and on nothing else", async () => {
  const digest = async (change: Partial<ImageVariationRequest>): Promise<string> =>
    digestOf((await vary(change)).images);
  const all = [
    await digest({}),
    await digest({ source: render([{ shape: "square", color: "green", x: 48, y: 48 }]) }),
    await digest({ strength: 0.6 }),
    await digest({ prompt: "a red circle" }),
    await digest({ seed: 2n }),
  ];
  expect(new Set(all).size).toBe(5);
  expect(await digest({})).toBe(all[0]);
});

test("drawn anew altogether, it is the drawing of its prompt", async () => {
  const { images } = await vary({ strength: 1, prompt: REQUEST.prompt });
  expect(digestOf(images)).toBe(digestOf((await draw(tiny.pipelines, REQUEST)).images));
});

test("without a prompt there is nothing to guide towards", async () => {
  expect(digestOf((await vary({ guidanceScale: 9 })).images)).toBe(digestOf((await vary()).images));
});

test("going on after a step gives the same bytes", async () => {
  const whole = await vary({ count: 2 });
  const resumed = await vary({ count: 2 }, whole.states[2]);
  expect(resumed.states).toHaveLength(3);
  expect(digestOf(resumed.images)).toBe(digestOf(whole.images));
});

test("without guidance to make anew, it goes on where it stood at every speed", async () => {
  const change = { speed: "faster", steps: 16, guidanceScale: 3 } as const;
  const whole = await vary(change);
  const from = whole.states.find(({ stepsDone }) => stepsDone === 4);
  const resumed = imageVariation(
    tiny.pipelines,
    { ...VARIATION, ...change },
    { from, signal: new AbortController().signal },
  );
  expect((await resumed.next()).value).toMatchObject({ kind: "started", stepsDone: 4 });
  await resumed.return(undefined);
});

describe("refused before anything runs:", () => {
  test.each<[string, Partial<ImageVariationRequest>, string]>([
    ["a strength of nothing", { strength: 0 }, "strength is 0; it must be above 0 and at most 1."],
    ["a strength above 1", { strength: 1.1 }, "strength is 1.1; it must be above 0 and at most 1."],
    ["a strength that is no number", { strength: Number.NaN }, "strength is NaN; it must be above 0 and at most 1."],
    ["an empty prompt", { prompt: " " }, "The prompt is empty. Say what to draw, or leave it out."],
    ["a size between two patches", { width: 100 }, "100 x 96 pixels cannot be drawn: "],
  ])("%s", async (_, change, message) => {
    tiny.takeRuns();
    const error: unknown = await vary(change).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(InvalidRequestError);
    expect((error as Error).message).toContain(message);
    expect(tiny.takeRuns()).toEqual([]);
  });
});
