import { expect, test } from "vitest";
import { render } from "../../inference/eval/shapes-world.ts";
import { encodePng } from "../../inference/image/rgb-image.ts";
import { type GenerateRequest, Stage } from "../../proto/gen/inference/v1/inference.ts";
import { type Attempt, attemptOf, codeOf, collect, expectEnd, picturesOf, SHORT, useTinyWorkers } from "./attempts.ts";

const workers = useTinyWorkers();

const QUESTION = {
  question: "Describe the image in detail.",
  size: 96,
  maxTokens: 64,
  temperature: 0,
  topP: 1,
  seed: 0n,
};

async function setup() {
  const worker = await workers.shared();
  const image = await encodePng(render([{ shape: "circle", color: "red", x: 48, y: 48 }]));
  const { prompt: _, ...drawing } = { ...SHORT, unconditionalPrompt: "Repeat this image." };
  const edit = (change: object = {}): GenerateRequest["task"] => ({
    $case: "imageEdit",
    value: { instruction: "make the circle blue", drawing, source: image, mask: new Uint8Array(0), ...change },
  });
  const question = (change: object = {}): GenerateRequest["task"] => ({
    $case: "imageToText",
    value: { ...QUESTION, image, ...change },
  });
  return {
    worker,
    image,
    drawing,
    edit,
    question,
    run: (task: GenerateRequest["task"]) => collect(worker.generate(attemptOf(task))),
  };
}

const answerOf = (attempt: Attempt): string => {
  let answer = "";
  for (const { offset, text } of attempt.of("text")) {
    expect(offset).toBe(answer.length);
    answer += text;
  }
  return answer;
};

test("an edit streams like any drawing, and depends on its instruction", async () => {
  const { edit, run } = await setup();
  const attempt = await run(edit());
  expectEnd(attempt, "done");
  expect(attempt.of("frame").at(-1)).toMatchObject({ stage: Stage.DECODING, stepsDone: 6, totalSteps: 6 });
  expect(attempt.of("image")).toHaveLength(1);
  expect(picturesOf(await run(edit()))).toEqual(picturesOf(attempt));
  expect(picturesOf(await run(edit({ instruction: "remove the circle" })))).not.toEqual(picturesOf(attempt));
});

test("an edit under a mask takes no more steps than there are patches to draw", async () => {
  const { edit, run } = await setup();
  const data = new Uint8Array(3 * 96 * 96);
  data.fill(255, 0, 3); // one pixel
  const attempt = await run(edit({ mask: await encodePng({ width: 96, height: 96, data }) }));
  expectEnd(attempt, "done");
  expect(attempt.of("started")[0]).toMatchObject({ stepsDone: 0, totalSteps: 1 });
});

test("an edit that yielded goes on from its checkpoint to the same picture", async () => {
  const { worker, edit, drawing, run } = await setup();
  const long = edit({ drawing: { ...drawing, steps: 36, count: 2 } });
  const request = attemptOf(long);
  const first = await collect(worker.generate(request), ({ $case }) =>
    $case === "started" ? worker.yield(request.leaseId) : undefined,
  );
  expectEnd(first, "yielded");
  const checkpoint = first.of("checkpoint").at(-1)!;
  const second = await collect(worker.generate(attemptOf(long, checkpoint)));
  expect(second.of("started")[0]).toMatchObject({ stepsDone: checkpoint.stepsDone });
  expect(picturesOf(second)).toEqual(picturesOf(await run(long)));
});

test("a variation draws the rest of a picture, with or without a prompt", async () => {
  const { image: source, drawing, run } = await setup();
  const vary = async (prompt: string): Promise<Attempt> => {
    const attempt = await run({ $case: "imageVariation", value: { prompt, drawing, source, strength: 0.5 } });
    expectEnd(attempt, "done");
    return attempt;
  };
  const pictures = picturesOf(await vary(""));
  expect(picturesOf(await vary(""))).toEqual(pictures);
  expect(picturesOf(await vary("a blue star"))).not.toEqual(pictures);
});

test("a variation of no strength is refused", async () => {
  const { image: source, drawing, run } = await setup();
  const attempt = await run({ $case: "imageVariation", value: { prompt: "", drawing, source, strength: 0 } });
  expect(codeOf(attempt)).toBe("INVALID_ARGUMENT");
  expect(attempt.error!.details).toBe("strength is 0; it must be above 0 and at most 1.");
});

test("an answer comes in words without gaps, and counts its tokens", async () => {
  const { question, run } = await setup();
  const attempt = await run(question());
  expectEnd(attempt, "done");
  expect(answerOf(attempt)).toBe("The image shows a red circle at the center, on a white background.");
  expect(attempt.of("text").length).toBeGreaterThan(3);
  expect(attempt.of("frame").at(-1)).toMatchObject({ stage: Stage.WRITING, totalSteps: 64 });
});

test("an answer whose words are drawn depends on its seed", async () => {
  const { question, run } = await setup();
  const drawn = async (seed: bigint) => answerOf(await run(question({ temperature: 3, seed })));
  const answer = await drawn(1n);
  expect(await drawn(1n)).toBe(answer);
  expect(await drawn(2n)).not.toBe(answer);
});

test("an answer that yielded goes on, and starts with all of it", async () => {
  const { worker, question, run } = await setup();
  const request = attemptOf(question());
  const first = await collect(worker.generate(request), ({ $case }) =>
    $case === "started" ? worker.yield(request.leaseId) : undefined,
  );
  expectEnd(first, "yielded");
  const checkpoint = first.of("checkpoint").at(-1)!;
  expect(checkpoint.stepsDone).toBeGreaterThan(0);
  const second = await collect(worker.generate(attemptOf(question(), checkpoint)));
  expect(second.of("started")[0]).toMatchObject({ stepsDone: checkpoint.stepsDone });
  expect(answerOf(second)).toBe(answerOf(await run(question())));
});

test.each<[string, object, RegExp]>([
  ["bytes that are no picture", { image: Buffer.from("no picture") }, /^This is no picture that can be read\./],
  ["no picture", { image: new Uint8Array(0) }, /^This is no picture that can be read\./],
  [
    "a size that is not offered",
    { size: 100 },
    /^Pictures are not looked at with 100 x 100 pixels; possible is 96 x 96\.$/,
  ],
  ["no tokens", { maxTokens: 0 }, /^max_tokens is 0; 1 to 490 are possible\.$/],
  ["a negative temperature", { temperature: -1 }, /^temperature is -1; it must be above 0/],
  ["an empty question", { question: " " }, /^The question is empty\./],
])("a question with %s is refused", async (_, change, message) => {
  const { question, run } = await setup();
  const attempt = await run(question(change));
  expect(codeOf(attempt)).toBe("INVALID_ARGUMENT");
  expect(attempt.error!.details).toMatch(message);
});

test.each<[string, object, RegExp]>([
  ["bytes that are no picture", { source: Buffer.from("no picture") }, /^This is no picture that can be read\./],
  ["a mask that is no picture", { mask: Buffer.from("no picture") }, /^This is no picture that can be read\./],
  ["no settings", { drawing: undefined }, /^size is missing\.$/],
])("an edit with %s is refused", async (_, change, message) => {
  const { edit, run } = await setup();
  const attempt = await run(edit(change));
  expect(codeOf(attempt)).toBe("INVALID_ARGUMENT");
  expect(attempt.error!.details).toMatch(message);
});
