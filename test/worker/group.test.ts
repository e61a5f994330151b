import sharp from "sharp";
import { expect, test } from "vitest";
import type { GenerateRequest, Group } from "../../proto/gen/inference/v1/inference.ts";
import { expectSamePicture } from "../support/company.ts";
import {
  type Attempt,
  atStep,
  attemptOf,
  codeOf,
  collect,
  expectEnd,
  requestOf,
  SHORT,
  useTinyWorkers,
} from "./attempts.ts";

const workers = useTinyWorkers();
const STAR = { ...SHORT, prompt: "two stars", seed: 8n, guidanceScale: 2, temperature: 0.9, count: 2 };
const HEART = { ...SHORT, prompt: "an orange diamond above a pink heart", seed: 9n };

let lastGroup = 0;

async function setup() {
  const worker = await workers.shared(["--slots", "4"]);
  return {
    worker,
    /** A group that is as large as it says, or larger. */
    group: (size: number): { group: Group } => ({ group: { id: `group-${++lastGroup}`, size, standby: false } }),
    run: (request: GenerateRequest, onEvent?: Parameters<typeof collect>[1]) =>
      collect(worker.generate(request), onEvent),
  };
}

const groupSizeOf = (attempt: Attempt): number | undefined => attempt.of("started")[0]?.recipe?.groupSize;

/** Fails the test unless both attempts gave the same pictures. */
async function expectSame(attempt: Attempt, alone: Attempt): Promise<void> {
  expectEnd(attempt, "done");
  const [actual, expected] = [attempt.of("image"), alone.of("image")];
  expect(actual).toHaveLength(expected.length);
  for (const [i, { data }] of actual.entries()) await expectSamePicture(data, expected[i]!.data);
}

test("attempts of a group give the pictures that each gives alone, and say how many they were", async () => {
  const { run, group } = await setup();
  const three = group(3);
  const attempts = await Promise.all([SHORT, STAR, HEART].map((task) => run(requestOf(task, three))));
  expect(attempts.map(groupSizeOf)).toEqual([3, 3, 3]);
  for (const [i, task] of [SHORT, STAR, HEART].entries()) await expectSame(attempts[i]!, await run(requestOf(task)));
});

test("a group of which only some arrive starts with those", async () => {
  const { run, group } = await setup();
  const three = group(3);
  const attempts = await Promise.all([SHORT, HEART].map((task) => run(requestOf(task, three))));
  expect(attempts.map(groupSizeOf)).toEqual([2, 2]);
  for (const attempt of attempts) expectEnd(attempt, "done");
});

test("one that cannot be drawn fails alone", async () => {
  const { run, group } = await setup();
  const three = group(3);
  const { prompt: _, ...drawing } = SHORT;
  const edit = { instruction: "make it blue", drawing, source: Buffer.from("no picture"), mask: Buffer.of() };
  const [unreadable, tooMany, good] = await Promise.all([
    run({ ...attemptOf({ $case: "imageEdit", value: edit }), ...three }),
    run(requestOf({ ...SHORT, steps: 37 }, three)),
    run(requestOf(HEART, three)),
  ]);
  expect([unreadable!, tooMany!].map(codeOf)).toEqual(["INVALID_ARGUMENT", "INVALID_ARGUMENT"]);
  await expectSame(good!, await run(requestOf(HEART)));
});

test("one is cancelled, one yields and goes on later in company; nobody's pictures change", async () => {
  const { worker, run, group } = await setup();
  const three = group(3);
  const controller = new AbortController();
  const yielding = requestOf({ ...STAR, steps: 18 }, three);
  const long = { ...HEART, steps: 18 };
  const [cancelled, yielded, finished] = await Promise.all([
    collect(
      worker.generate(requestOf({ ...SHORT, steps: 18 }, three), controller.signal),
      atStep(2, () => controller.abort()),
    ),
    run(
      yielding,
      atStep(4, () => worker.yield(yielding.leaseId)),
    ),
    run(requestOf(long, three)),
  ]);
  expect(cancelled!.error).toHaveProperty("name", "AbortError");
  expectEnd(yielded!, "yielded");
  await expectSame(finished!, await run(requestOf(long)));
  const resumeFrom = yielded!.of("checkpoint").at(-1)!;
  expect(resumeFrom.stepsDone).toBeLessThan(18);
  const two = group(2);
  const [resumed, fresh] = await Promise.all([
    run(requestOf({ ...STAR, steps: 18 }, { ...two, resumeFrom })),
    run(requestOf(long, two)),
  ]);
  expect(resumed!.of("started")[0]!.stepsDone).toBe(resumeFrom.stepsDone);
  await expectSame(resumed!, await run(requestOf({ ...STAR, steps: 18 })));
  await expectSame(fresh!, await run(requestOf(long)));
});

test("one that is asked to yield before the others have come does not forget it", async () => {
  const { worker, run, group } = await setup();
  const request = requestOf({ ...SHORT, steps: 36 }, group(2));
  const attempt = run(request);
  while (
    await worker.yield(request.leaseId).then(
      () => false,
      () => true,
    )
  ); // until the attempt is known
  expectEnd(await attempt, "yielded");
  expect((await attempt).of("checkpoint").at(-1)!.stepsDone).toBeLessThan(36);
});

test("an answer in the group does not hold up those that draw", async () => {
  const { run, group } = await setup();
  const two = group(2);
  const image = await sharp({ create: { width: 96, height: 96, channels: 3, background: "red" } })
    .png()
    .toBuffer();
  const question = {
    question: "What is in the picture?",
    image,
    size: 96,
    maxTokens: 8,
    temperature: 0,
    topP: 1,
    seed: 0n,
  };
  const [answer, drawing] = await Promise.all([
    run({ ...attemptOf({ $case: "imageToText", value: question }), ...two }),
    run(requestOf(SHORT, two)),
  ]);
  expect([answer!, drawing!].map(groupSizeOf)).toEqual([1, 1]);
  for (const attempt of [answer!, drawing!]) expectEnd(attempt, "done");
});
