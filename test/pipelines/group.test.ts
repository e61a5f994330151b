import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { render } from "../../inference/eval/shapes-world.ts";
import type { RgbImage } from "../../inference/image/rgb-image.ts";
import type { DrawingEvent, DrawingOptions, Unipic } from "../../inference/pipelines/drawing.ts";
import { imageEdit } from "../../inference/pipelines/image-edit.ts";
import type { MarProgress } from "../../inference/pipelines/mar-sampler.ts";
import { StepGroup } from "../../inference/pipelines/step-group.ts";
import { textToImage } from "../../inference/pipelines/text-to-image.ts";
import { deviation, RUN_LIMIT } from "../support/golden.ts";
import { REQUEST as BASE, collect, type Drawing, noteFeeds, openTinyPipelines, type TinyPipelines } from "./drawing.ts";

const NEVER = new AbortController().signal;
/** With fewer diffusion steps the tiny model magnifies the rounding of a sum to 1e-3; with these it stays at 1e-6. */
const REQUEST = { ...BASE, steps: 4, diffusionSteps: "25" };
const STAR = { ...REQUEST, prompt: "two stars", seed: 2n };

let tiny: TinyPipelines;
beforeAll(async () => {
  tiny = await openTinyPipelines();
});
beforeEach(() => {
  tiny.onRun = () => {};
  tiny.takeRuns();
});
afterAll(() => tiny.dispose());

/** A request, ready to be drawn alone or in a group. */
type Draw = (options: DrawingOptions, unipic?: Unipic) => AsyncGenerator<DrawingEvent>;

const text =
  (change: Partial<typeof REQUEST> = {}): Draw =>
  (options, unipic = tiny.pipelines) =>
    textToImage(unipic, { ...REQUEST, ...change }, options);

const edit =
  (source: RgbImage, change: Partial<Parameters<typeof imageEdit>[1]> = {}): Draw =>
  (options, unipic = tiny.pipelines) =>
    imageEdit(unipic, { ...REQUEST, source, instruction: "make it blue", ...change }, options);

const alone = (draw: Draw): Promise<Drawing> => collect(draw({ signal: NEVER }));

/** Draws all of them in one group; each may have options of its own, and leaves when it ends. */
function together(
  draws: readonly Draw[],
  own: readonly Partial<DrawingOptions>[] = [],
  unipic?: Unipic,
): Promise<PromiseSettledResult<Drawing>[]> {
  const group = new StepGroup((unipic ?? tiny.pipelines).model);
  const members = draws.map(() => group.join());
  return Promise.allSettled(
    draws.map((draw, i) => {
      const member = members[i]!;
      return collect(draw({ signal: NEVER, ...own[i], member }, unipic)).finally(() => member.leave());
    }),
  );
}

/** Fails the test unless both ended with the same tokens, within the limits of the golden data. */
function expectSame(result: PromiseSettledResult<Drawing> | undefined, expected: Drawing): void {
  if (result?.status !== "fulfilled") throw new Error(`it failed: ${String(result?.reason)}`);
  const [actualTokens = [], expectedTokens = []] = [result.value, expected].map(({ states }) => states.at(-1)?.tokens);
  expect(actualTokens).toHaveLength(expectedTokens.length);
  for (const [i, tokens] of actualTokens.entries())
    expect(deviation(tokens, expectedTokens[i]!)).toBeLessThan(RUN_LIMIT);
  expect(result.value.images).toHaveLength(expected.images.length);
}

const runsOf = (graph: string): number => tiny.takeRuns().filter((each) => each === graph).length;

const CIRCLE = render([{ shape: "circle", color: "red", x: 48, y: 48 }]);
const SQUARE = render([{ shape: "square", color: "green", x: 32, y: 64 }]);

function mask(paint: (x: number, y: number) => boolean): RgbImage {
  const data = new Uint8Array(96 * 96 * 3);
  for (let i = 0; i < 96 * 96; i++) if (paint(i % 96, Math.floor(i / 96))) data.fill(255, 3 * i, 3 * i + 3);
  return { width: 96, height: 96, data };
}

describe("a request in a group gives what it gives alone:", () => {
  test("prompts, seeds, scales, schedules, temperatures and counts may differ", async () => {
    const draws = [
      text(),
      text({ prompt: "two stars", seed: 2n, guidanceScale: 5, guidanceSchedule: "linear", temperature: 0.7, count: 2 }),
      text({ prompt: "an orange diamond above a pink heart, and nothing else in the picture at all", seed: 3n }),
      text({ unconditionalPrompt: "a blue square at the bottom right", seed: 4n }),
    ];
    const results = await together(draws);
    expect(runsOf("diffusion-condition")).toBe(REQUEST.steps);
    for (const [i, draw] of draws.entries()) expectSame(results[i], await alone(draw));
  });

  test("one without guidance does not share, nor disturb", async () => {
    const draws = [
      text(),
      text({ seed: 2n, guidanceScale: 1 }),
      text({ seed: 3n, guidanceScale: 1, prompt: "a star" }),
    ];
    const results = await together(draws);
    expect(runsOf("mar-decoder")).toBe(2 * REQUEST.steps);
    for (const [i, draw] of draws.entries()) expectSame(results[i], await alone(draw));
  });

  test("edits of different sources", async () => {
    const draws = [edit(CIRCLE), edit(SQUARE, { seed: 2n, count: 2, guidanceScale: 2 }), edit(CIRCLE, { seed: 3n })];
    const results = await together(draws);
    expect(runsOf("mar-decoder")).toBe(REQUEST.steps);
    for (const [i, draw] of draws.entries()) expectSame(results[i], await alone(draw));
  });

  test("edits under masks; those that keep as many tokens share", async () => {
    const left = mask((x) => x < 48);
    const right = mask((x) => x >= 48);
    const corner = mask((x, y) => x < 32 && y < 32);
    const draws = [
      edit(CIRCLE, { mask: left }),
      edit(SQUARE, { mask: right }),
      edit(CIRCLE, { mask: corner, steps: 3 }),
    ];
    const results = await together(draws);
    expect(runsOf("mar-decoder")).toBe(REQUEST.steps + 3);
    for (const [i, draw] of draws.entries()) expectSame(results[i], await alone(draw));
  });

  test("other sizes, numbers of steps and of diffusion steps", async () => {
    const draws = [text(), text({ width: 128, height: 64 }), text({ steps: 3 }), text({ diffusionSteps: "26" })];
    const results = await together(draws);
    for (const [i, draw] of draws.entries()) expectSame(results[i], await alone(draw));
  });
});

describe("the others go on as if nothing had been", () => {
  test("when one is cancelled within a step, which ends for it at once", async () => {
    const controller = new AbortController();
    let headRuns = 0;
    tiny.onRun = ({ graph }) => {
      if (graph === "diffusion-head" && ++headRuns === 4) controller.abort();
    };
    const [cancelled, other] = await together([text(), text(STAR)], [{ signal: controller.signal }]);
    expect(cancelled).toMatchObject({ status: "rejected", reason: { name: "AbortError" } });
    expectSame(other, await alone(text(STAR)));
  });

  test("when one stops after a step, and goes on later in another group", async () => {
    const group = new StepGroup(tiny.pipelines.model);
    const [first, second] = [group.join(), group.join()];
    const rest = collect(text(STAR)({ signal: NEVER, member: second }));
    let from: MarProgress | undefined;
    for await (const event of text()({ signal: NEVER, member: first })) {
      if (event.kind === "step") from = event.progress;
      if (from?.stepsDone === 2) break;
    }
    first.leave();
    const [star] = await Promise.allSettled([rest]);
    expectSame(star, await alone(text(STAR)));
    tiny.takeRuns();
    const [resumed, fresh] = await together([text(), text(STAR)], [{ from }]);
    expectSame(resumed, await alone(text()));
    expectSame(fresh, await alone(text(STAR)));
  });

  test("when one is refused", async () => {
    const [refused, other] = await together([text({ steps: 99 }), text(STAR)]);
    expect(refused).toMatchObject({ status: "rejected", reason: { name: "InvalidRequestError" } });
    expectSame(other, await alone(text(STAR)));
  });

  test("when one's latents are not finite", async () => {
    let isSpoilt = false;
    const spoiling = noteFeeds(tiny.pipelines, (graph, feeds) => {
      if (graph !== "diffusion-head" || isSpoilt) return;
      isSpoilt = true;
      (feeds["x"]!.data as Float32Array).fill(Number.NaN, 0, feeds["x"]!.data.length / 2); // the first of two pictures
    });
    const [spoiled, other] = await together([edit(CIRCLE), edit(SQUARE, { seed: 2n })], [], spoiling);
    expect(spoiled).toMatchObject({ status: "rejected", reason: { message: expect.stringContaining("not finite") } });
    expectSame(other, await alone(edit(SQUARE, { seed: 2n })));
  });
});

test("a graph run that fails ends all who shared it, and nobody else", async () => {
  let runs = 0;
  const failing = noteFeeds(tiny.pipelines, (graph) => {
    if (graph === "diffusion-condition" && ++runs === 3) throw new Error("out of memory");
  });
  const results = await together([text(), text(STAR), text({ seed: 3n, guidanceScale: 1 })], [], failing);
  const failure = { status: "rejected", reason: { message: "out of memory" } };
  expect(results.slice(0, 2)).toMatchObject([failure, failure]);
  expectSame(results[2], await alone(text({ seed: 3n, guidanceScale: 1 })));
});

test("a step waits for every member, and runs without the one that leaves", async () => {
  const group = new StepGroup(tiny.pipelines.model);
  const [member, late] = [group.join(), group.join()];
  const drawing = text({ prompt: "one that was not read before" })({ signal: NEVER, member });
  await drawing.next();
  tiny.takeRuns();
  const step = drawing.next();
  // Reading the prompt takes no step.
  while (!tiny.takeRuns().includes("llm")) await new Promise((resolve) => setImmediate(resolve));
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
  expect(tiny.takeRuns()).not.toContain("mar-encoder");
  late.leave();
  expect((await step).value).toMatchObject({ kind: "step", progress: { stepsDone: 1 } });
});
