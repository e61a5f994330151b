import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { render } from "../../inference/eval/shapes-world.ts";
import { decodeAnswer, encodeAnswer } from "../../inference/pipelines/answer-checkpoint.ts";
import {
  type ImageToTextEvent,
  type ImageToTextRequest,
  imageToText,
} from "../../inference/pipelines/image-to-text.ts";
import { InvalidRequestError } from "../../inference/pipelines/invalid-request.ts";
import { openTinyPipelines, type TinyPipelines } from "./drawing.ts";

const QUESTION: ImageToTextRequest = {
  image: render([{ shape: "circle", color: "red", x: 48, y: 48 }]),
  question: "Describe the image in detail.",
  size: 96,
  maxTokens: 64,
};

let tiny: TinyPipelines;
beforeAll(async () => {
  tiny = await openTinyPipelines();
});
afterAll(() => tiny.dispose());

async function ask(change: Partial<ImageToTextRequest> = {}, from: readonly number[] = []) {
  const events: ImageToTextEvent[] = [];
  const options = { signal: new AbortController().signal, from };
  for await (const event of imageToText(tiny.pipelines, { ...QUESTION, ...change }, options)) events.push(event);
  const words = events.flatMap((event) => (event.kind === "text" ? [event.text] : []));
  return { events, words, answer: words.join(""), end: events.at(-1) };
}

test("an answer comes word by word and ends with its stop token", async () => {
  const { words, answer, end } = await ask();
  expect(answer).toBe("The image shows a red circle at the center, on a white background.");
  expect(words.length).toBeGreaterThan(10);
  expect(end).toEqual({ kind: "end", reason: "stop", tokens: words.length + 1 });
});

test("an answer is cut off at its maximum", async () => {
  const { words, answer, end } = await ask({ maxTokens: 3 });
  expect([words.length, answer]).toEqual([3, "The image shows"]);
  expect(end).toEqual({ kind: "end", reason: "length", tokens: 3 });
});

test("every token is computed from the last one alone: the prompt is read once", async () => {
  tiny.takeRuns();
  const { end } = await ask({ maxTokens: 5 });
  expect(end).toMatchObject({ tokens: 5 });
  const runs = tiny.takeRuns();
  expect(runs.filter((graph) => graph === "llm")).toHaveLength(5); // the prompt, then four tokens
  expect(runs.filter((graph) => graph === "mar-encoder")).toHaveLength(1);
});

test("going on after some tokens gives the same answer, whose first words come again", async () => {
  const whole = await ask();
  const ids = whole.events.flatMap((event) => (event.kind === "text" ? [event.ids] : []))[6]!;
  const resumed = await ask({}, decodeAnswer(encodeAnswer(ids), 64));
  expect(resumed.answer).toBe(whole.answer);
  expect(resumed.words).toHaveLength(whole.words.length - ids.length);
  expect(resumed.end).toEqual(whole.end);
});

describe("a drawn answer", () => {
  const sampling = (seed: bigint, change: object = {}) => ({ sampling: { temperature: 3, topP: 1, seed, ...change } });

  test("is the same for the same seed, and another one for another seed", async () => {
    const { answer } = await ask(sampling(1n));
    expect((await ask(sampling(1n))).answer).toBe(answer);
    expect((await ask(sampling(2n))).answer).not.toBe(answer);
  });

  test("is the likeliest one when only the likeliest tokens may be drawn", async () => {
    const { answer } = await ask();
    expect((await ask(sampling(1n, { topP: 0.01 }))).answer).toBe(answer);
    expect((await ask(sampling(1n, { temperature: 0.01 }))).answer).toBe(answer);
  });

  test("that was interrupted goes on to the same words", async () => {
    const whole = await ask(sampling(1n));
    const ids = whole.events.flatMap((event) => (event.kind === "text" ? [event.ids] : []))[3]!;
    expect((await ask(sampling(1n), ids)).answer).toBe(whole.answer);
  });
});

test.each([
  ["is something else", Buffer.from("no checkpoint")],
  ["is cut off", encodeAnswer([1, 2, 3]).subarray(0, -1)],
  ["has more tokens than the answer may have", encodeAnswer([1, 2, 3, 4])],
])("a checkpoint that %s is refused", (_, bytes) => {
  expect(() => decodeAnswer(bytes, 3)).toThrow(InvalidRequestError);
});

test("an answer stops when it is cancelled", async () => {
  const controller = new AbortController();
  const words: string[] = [];
  const answering = (async () => {
    for await (const event of imageToText(tiny.pipelines, QUESTION, { signal: controller.signal })) {
      if (event.kind !== "text") continue;
      words.push(event.text);
      controller.abort();
    }
  })();
  await expect(answering).rejects.toThrow();
  expect(words).toHaveLength(1);
});

describe("refused before anything runs:", () => {
  test.each<[string, Partial<ImageToTextRequest>, string]>([
    ["an empty question", { question: " " }, "The question is empty. Say what to answer."],
    ["a size between two patches", { size: 100 }, "100 x 100 pixels cannot be drawn: "],
    ["no tokens", { maxTokens: 0 }, "An answer of 0 tokens is not possible here: use 1 to "],
    ["more tokens than the model has positions", { maxTokens: 1024 }, "An answer of 1024 tokens is not possible here"],
    [
      "a temperature below 0",
      { sampling: { temperature: -1, topP: 1, seed: 1n } },
      "temperature is -1; it must be above",
    ],
    [
      "a share of 0",
      { sampling: { temperature: 1, topP: 0, seed: 1n } },
      "topP is 0; it must be above 0 and at most 1.",
    ],
    ["a share above 1", { sampling: { temperature: 1, topP: 1.5, seed: 1n } }, "topP is 1.5; it must be above 0"],
    ["a question longer than the model reads", { question: "red ".repeat(2000) }, "Shorten it."],
  ])("%s", async (_, change, message) => {
    tiny.takeRuns();
    const error: unknown = await ask(change).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(InvalidRequestError);
    expect((error as Error).message).toContain(message);
    expect(tiny.takeRuns()).toEqual([]);
  });
});
