import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import type { TextToImageRequest } from "../../inference/pipelines/text-to-image.ts";
import type { Compute } from "../../inference/worker/compute.ts";
import type { RunEvent } from "../../inference/worker/compute-protocol.ts";
import { openTinyModel, type TinyModel } from "../support/tiny-model.ts";

// The computing thread is compiled code, and so is whoever starts it.
const compiled = pathToFileURL(resolve("dist/inference/worker/compute.js")).href;

const LONG: TextToImageRequest = {
  prompt: "a red circle",
  unconditionalPrompt: "Generate an image.",
  width: 96,
  height: 96,
  count: 2,
  steps: 36,
  diffusionSteps: "25",
  guidanceScale: 3,
  guidanceSchedule: "constant",
  temperature: 1,
  speed: "exact",
  seed: 1n,
};

let model: TinyModel;
beforeAll(async () => {
  model = openTinyModel();
});
afterAll(() => model.remove());

/** A computing thread of its own. */
async function setup() {
  const module = (await import(compiled)) as { Compute: typeof Compute };
  const compute = await module.Compute.start(
    { modelFolder: model.folder, provider: "cpu", threads: 1, prepares: false, logLevel: "silent" },
    () => {},
  );
  onTestFinished(async () => {
    // A thread that is ended in the middle of a graph run can take this process with it: this waits for its turn.
    const task = { kind: "textToImage", request: { ...LONG, steps: 1, count: 1 } } as const;
    const last = { task, checkpoint: undefined, group: { id: "last", size: 1, standby: false } };
    for await (const _ of compute.run("last", last, new AbortController().signal));
    await compute.stop();
  });
  return {
    /** The events of a run; `onEvent` is called with each of them. */
    async run(
      id: string,
      request: TextToImageRequest,
      { onEvent, signal = new AbortController().signal }: RunOptions = {},
    ): Promise<RunEvent[]> {
      const events: RunEvent[] = [];
      for await (const event of compute.run(
        id,
        { task: { kind: "textToImage", request }, checkpoint: undefined, group: { id, size: 1, standby: false } },
        signal,
      )) {
        events.push(event);
        onEvent?.(event);
      }
      return events;
    },
  };
}

interface RunOptions {
  readonly onEvent?: (event: RunEvent) => void;
  readonly signal?: AbortSignal;
}

const isStep = (event: RunEvent, step: number): boolean => event.kind === "frame" && event.stepsDone === step;

describe("a run", () => {
  test("that is aborted ends as cancelled, at its next step at the latest", async () => {
    const { run } = await setup();
    const controller = new AbortController();
    const events = await run("a", LONG, {
      signal: controller.signal,
      onEvent: (event) => isStep(event, 2) && controller.abort(),
    });
    expect(events.at(-1)).toEqual({ kind: "failed", reason: "cancelled", message: "The attempt was cancelled." });
    // Some frames may have been on their way.
    expect(events.length).toBeLessThan(LONG.steps / 2);
  });

  test("that is aborted before it starts draws nothing", async () => {
    const { run } = await setup();
    const events = await run("a", LONG, { signal: AbortSignal.abort() });
    expect(events.at(-1)).toMatchObject({ kind: "failed", reason: "cancelled" });
    expect(events.some((event) => isStep(event, 2))).toBe(false);
  });

  test("that fails leaves the others alone", async () => {
    const { run } = await setup();
    const [failed, done] = await Promise.all([
      run("a", { ...LONG, steps: 99 }),
      run("b", { ...LONG, count: 1, steps: 2 }),
    ]);
    expect(failed).toEqual([{ kind: "failed", reason: "invalid", message: expect.stringContaining("99 steps") }]);
    expect(done.at(-1)!.kind).toBe("done");
  });
});
