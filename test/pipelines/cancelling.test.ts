import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { openPipelines } from "../../inference/pipelines/pipelines.ts";
import { textToImage } from "../../inference/pipelines/text-to-image.ts";
import { digestOf, draw, openTinyPipelines, REQUEST, type TinyPipelines } from "./drawing.ts";

let tiny: TinyPipelines;
beforeAll(async () => {
  tiny = await openTinyPipelines();
});
beforeEach(() => {
  tiny.onRun = () => {};
  tiny.takeRuns();
});
afterAll(() => tiny.dispose());

/** A drawing that has begun, and what cancels it. */
async function setup() {
  const controller = new AbortController();
  const request = { ...REQUEST, count: 2, diffusionSteps: "25" };
  const drawing = textToImage(tiny.pipelines, request, { signal: controller.signal });
  expect((await drawing.next()).value).toMatchObject({ kind: "started", stepsDone: 0, totalSteps: request.steps });
  return { controller, request, drawing };
}

test("a drawing that is cancelled between two steps takes no other step", async () => {
  const { controller, drawing } = await setup();
  await drawing.next();
  expect((await drawing.next()).value).toMatchObject({ kind: "step", progress: { stepsDone: 2 } });
  controller.abort();
  tiny.takeRuns();
  await expect(drawing.next()).rejects.toHaveProperty("name", "AbortError");
  expect(tiny.takeRuns()).toEqual([]);
  expect(await drawing.next()).toEqual({ done: true, value: undefined });
});

test("a drawing that is cancelled within a step ends before its next call of the diffusion", async () => {
  const { controller, drawing } = await setup();
  await drawing.next();
  tiny.takeRuns();
  let headRuns = 0;
  tiny.onRun = ({ graph }) => {
    if (graph === "diffusion-head" && ++headRuns === 2) controller.abort();
  };
  await expect(drawing.next()).rejects.toHaveProperty("name", "AbortError");
  expect(tiny.takeRuns()).toEqual([
    "mar-encoder",
    "llm",
    "mar-decoder",
    "diffusion-condition",
    "diffusion-head",
    "diffusion-head",
  ]);
});

test("a drawing that is cancelled before its diffusion does not begin it", async () => {
  const { controller, drawing } = await setup();
  tiny.onRun = ({ graph }) => {
    if (graph === "mar-decoder") controller.abort();
  };
  await expect(drawing.next()).rejects.toHaveProperty("name", "AbortError");
  expect(tiny.takeRuns()).not.toContain("diffusion-head");
});

test("a drawing that is cancelled after its last step decodes nothing", async () => {
  const { controller, request, drawing } = await setup();
  for (let step = 0; step < request.steps; step++) await drawing.next();
  controller.abort();
  tiny.takeRuns();
  await expect(drawing.next()).rejects.toHaveProperty("name", "AbortError");
  expect(tiny.takeRuns()).toEqual([]);
});

test("leaving the loop ends the drawing", async () => {
  const { drawing } = await setup();
  for await (const _ of drawing) break;
  tiny.takeRuns();
  expect(await drawing.next()).toEqual({ done: true, value: undefined });
  expect(tiny.takeRuns()).toEqual([]);
});

test("after a cancelled drawing the next one is as if nothing had been", async () => {
  const { controller, request, drawing } = await setup();
  const undisturbed = await draw(tiny.pipelines, request);
  await drawing.next();
  controller.abort();
  await expect(drawing.next()).rejects.toHaveProperty("name", "AbortError");
  const next = await draw(tiny.pipelines, request);
  expect(digestOf(next.images)).toBe(digestOf(undisturbed.images));
});

test("after a cancelled drawing the model closes", async () => {
  const own = openPipelines(tiny.pipelines.model.folder, { provider: "cpu", threads: 1 });
  const controller = new AbortController();
  const drawing = textToImage(own, REQUEST, { signal: controller.signal });
  await drawing.next();
  controller.abort();
  await expect(drawing.next()).rejects.toHaveProperty("name", "AbortError");
  await own.close();
  expect(() => own.model.embed([0])).toThrow("EBADF");
});
