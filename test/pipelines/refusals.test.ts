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

  test("may be empty", async () => {
    const { images } = await draw(tiny.pipelines, { ...REQUEST, prompt: "", steps: 1 });
    expect(images).toHaveLength(1);
  });
});

describe("a number that is not finite", () => {
  test.each(["guidanceScale", "temperature"] as const)("is refused as %s", async (key) => {
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const { message } = await refusalOf({ [key]: value });
      expect(message).toContain("must be a finite number");
    }
  });
});
