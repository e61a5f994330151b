import sharp from "sharp";
import { expect, test } from "vitest";
import { encodePng } from "../../inference/image/rgb-image.ts";
import { loadManifest } from "../../inference/manifest.ts";
import { openPipelines } from "../../inference/pipelines/pipelines.ts";
import { textToImage } from "../../inference/pipelines/text-to-image.ts";
import { GuidanceSchedule, Stage } from "../../proto/gen/inference/v1/inference.ts";
import { collect, expectEnd, picturesOf, requestOf, SHORT, useTinyWorkers } from "./attempts.ts";

const workers = useTinyWorkers();

async function setup() {
  const worker = await workers.shared(["--slots", "2"]);
  return { worker, generate: (task: typeof SHORT) => collect(worker.generate(requestOf(task))) };
}

test("a generation streams started, frames, every picture and done, in this order", async () => {
  const { generate } = await setup();
  const attempt = await generate({ ...SHORT, count: 3 });
  expectEnd(attempt, "done");
  const kinds = attempt.events.map(({ $case }) => $case);
  const onTheWay = kinds.slice(1, -4); // a slow machine has the time to save state on the way
  expect(onTheWay.filter((kind) => kind !== "frame" && kind !== "checkpoint")).toEqual([]);
  expect(onTheWay).toContain("frame");
  expect([kinds[0], ...kinds.slice(-4)]).toEqual(["started", "image", "image", "image", "done"]);
  expect(attempt.of("image").map(({ index }) => index)).toEqual([0, 1, 2]);
});

test("done tells how many prompts the worker had to read, and how many it knew", async () => {
  const { generate } = await setup();
  const task = { ...SHORT, prompt: "a prompt that nobody else has" };
  await generate(task);
  const [done] = (await generate(task)).of("done");
  expect(done).toMatchObject({ promptsRead: 0, promptsKnown: 2 });
});

test("started tells the recipe", async () => {
  const { generate } = await setup();
  const [started] = (await generate(SHORT)).of("started");
  expect(started).toEqual({
    totalSteps: 6,
    stepsDone: 0,
    recipe: {
      buildDigest: loadManifest(workers.folder).digest,
      provider: "cpu",
      runtimeVersion: expect.stringMatching(/^\d+\.\d+\.\d+$/),
      threads: 1,
      groupSize: 1,
    },
  });
});

test("frames tell each step once, in order, with a preview of every picture", async () => {
  const { generate } = await setup();
  const frames = (await generate({ ...SHORT, count: 2, steps: 12 })).of("frame");
  const steps = frames.map(({ stepsDone }) => stepsDone);
  expect(steps).toEqual([...new Set(steps)].toSorted((a, b) => a - b));
  // A frame that a newer one overtakes on a busy machine is left out, the last one never is.
  expect(steps.at(-1)).toBe(12);
  for (const { stepsDone, totalSteps, stage, previews } of frames) {
    expect(totalSteps).toBe(12);
    expect(stage).toBe(stepsDone === 0 ? Stage.PREPARING : stepsDone === 12 ? Stage.DECODING : Stage.DRAWING);
    expect(previews.map(({ index }) => index)).toEqual(stepsDone === 0 ? [] : [0, 1]);
    for (const { webp, width, height } of previews) {
      expect(webp.length).toBeLessThanOrEqual(24 * 1024);
      expect(await sharp(webp).metadata()).toMatchObject({ format: "webp", width, height });
    }
  }
});

test("pictures are the ones that the pipeline draws in this process", async () => {
  const { generate } = await setup();
  const pipelines = openPipelines(workers.folder, { provider: "cpu", threads: 1 });
  const expected: string[] = [];
  try {
    const request = {
      ...SHORT,
      ...SHORT.size!,
      count: 2,
      diffusionSteps: pipelines.model.manifest.defaults.diffusionSteps,
      guidanceSchedule: "linear" as const,
      speed: "exact" as const,
    };
    for await (const event of textToImage(pipelines, request, { signal: new AbortController().signal })) {
      if (event.kind === "image") expected.push((await encodePng(event.image)).toString("base64"));
    }
  } finally {
    await pipelines.close();
  }
  const attempt = await generate({ ...SHORT, count: 2, guidanceSchedule: GuidanceSchedule.LINEAR });
  expect(picturesOf(attempt)).toEqual(expected);
  for (const { mimeType, size } of attempt.of("image")) {
    expect([mimeType, size]).toEqual(["image/png", { width: 96, height: 96 }]);
  }
});

test("the same request again gives the same bytes, one after the other and side by side", async () => {
  const { generate } = await setup();
  const alone = await generate(SHORT);
  expectEnd(alone, "done");
  for (const attempt of await Promise.all([generate(SHORT), generate(SHORT)])) {
    expectEnd(attempt, "done");
    expect(picturesOf(attempt)).toEqual(picturesOf(alone));
  }
});
