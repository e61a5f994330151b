import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { InvalidRequestError } from "../../inference/pipelines/invalid-request.ts";
import { draw, openTinyPipelines, REQUEST, type TinyPipelines } from "./drawing.ts";

let tiny: TinyPipelines;
beforeAll(async () => {
  tiny = await openTinyPipelines();
});
afterAll(() => tiny.dispose());

/** What drawing the changed request throws. No graph may have run by then. */
async function refusalOf(change: Partial<typeof REQUEST>): Promise<InvalidRequestError> {
  tiny.takeRuns();
  const error: unknown = await draw(tiny.pipelines, { ...REQUEST, ...change }).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(InvalidRequestError);
  expect(tiny.takeRuns()).toEqual([]);
  return error as InvalidRequestError;
}

describe("a size", () => {
  test.each([
    [100, 96],
    [96, 100],
    [0, 96],
    [96, -16],
    [8, 8],
    [96.5, 96],
    [Number.NaN, 96],
  ])("of %d x %d is refused, with the sizes that are possible", async (width, height) => {
    const { message } = await refusalOf({ width, height });
    expect(message).toBe(`${width} x ${height} pixels cannot be drawn: both sides must be multiples of 16.`);
  });

  test.each([
    [100_000, 100_000],
    [512, 512],
    [96, 16_016],
    [1e300, 1e300],
  ])("of %d x %d is refused as too large, with what is possible", async (width, height) => {
    // 1024 positions less 8 buffers and the 13 tokens of the shortest prompt with its template.
    const { message } = await refusalOf({ width, height });
    expect(message).toBe(
      `${width} x ${height} pixels are too large: this model draws up to 1003 patches of 16 x 16 pixels, for example 496 x 496.`,
    );
  });

  test("of as many patches as the model can draw is possible", async () => {
    const { images } = await draw(tiny.pipelines, {
      ...REQUEST,
      prompt: "a",
      width: 17 * 16,
      height: 59 * 16,
      steps: 1,
    });
    expect(images[0]).toMatchObject({ width: 272, height: 944 });
  });

  test("need not be square", async () => {
    const { images } = await draw(tiny.pipelines, { ...REQUEST, width: 112, height: 48, steps: 2 });
    expect(images[0]).toMatchObject({ width: 112, height: 48 });
  });
});

describe("a number of steps", () => {
  test.each([0, -1, 37, 1.5, Number.NaN])("of %d is refused, with the numbers that are possible", async (steps) => {
    const { message } = await refusalOf({ steps });
    expect(message).toBe(`${steps} steps cannot be taken for this size: use 1 to 36.`);
  });

  test.each([1, 36])("of %d is possible", async (steps) => {
    const { states } = await draw(tiny.pipelines, { ...REQUEST, steps });
    expect(states).toHaveLength(steps);
    expect(states.at(-1)).toMatchObject({ stepsDone: steps, totalSteps: steps });
  });
});

describe("a prompt", () => {
  /** 1024 positions less 8 buffers and 36 image tokens. */
  const room = 980;

  /** A prompt that makes this many tokens with its template: every digit is one. */
  function promptOf(tokens: number): string {
    const { model, tokenizer } = tiny.pipelines;
    const { template, textToImagePrefix } = model.manifest.prompt;
    const base = tokenizer.encode(template, `${textToImagePrefix}1`).length - 1;
    return "1".repeat(tokens - base);
  }

  test("that leaves no room for the picture is refused, with the room there is", async () => {
    const { message } = await refusalOf({ prompt: promptOf(room + 1) });
    expect(message).toBe(`The prompt has ${room + 1} tokens; at this size the model reads ${room}. Shorten it.`);
  });

  test("that just fits is drawn", async () => {
    const { images } = await draw(tiny.pipelines, { ...REQUEST, prompt: promptOf(room), steps: 1 });
    expect(images).toHaveLength(1);
  });

  test("to lead away from is refused in the same way", async () => {
    const { message } = await refusalOf({ unconditionalPrompt: "1".repeat(room) });
    expect(message).toMatch(/^The prompt has \d+ tokens; at this size the model reads 980\. Shorten it\.$/);
  });

  test.each(["", " \n\t"])("that is empty (%j) is refused", async (text) => {
    const { message } = await refusalOf({ prompt: text });
    expect(message).toBe("The prompt is empty. Say what to draw.");
    const { message: other } = await refusalOf({ unconditionalPrompt: text });
    expect(other).toBe("The unconditional prompt is empty. Say what guidance leads away from.");
  });
});

describe.each([
  ["guidanceScale", 100],
  ["temperature", 10],
] as const)("%s", (key, max) => {
  test.each([Number.NaN, Number.POSITIVE_INFINITY, -1, -1e-9, max + 1e-9, 1e9])(
    "of %d is refused, with the numbers that are possible",
    async (value) => {
      const { message } = await refusalOf({ [key]: value });
      expect(message).toBe(`${key} is ${value}; it must be a finite number from 0 to ${max}.`);
    },
  );

  test.each([0, max])("of %d is possible", async (value) => {
    const { images } = await draw(tiny.pipelines, { ...REQUEST, [key]: value, steps: 1 });
    expect(images).toHaveLength(1);
  });
});
