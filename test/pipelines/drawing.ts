import { createHash } from "node:crypto";
import type { RgbImage } from "../../inference/image/rgb-image.ts";
import type { DrawingEvent, Unipic } from "../../inference/pipelines/drawing.ts";
import type { MarProgress, MarState } from "../../inference/pipelines/mar-sampler.ts";
import { openPipelines, type Pipelines } from "../../inference/pipelines/pipelines.ts";
import { PrefixCache } from "../../inference/pipelines/prefix-cache.ts";
import { type TextToImageRequest, textToImage } from "../../inference/pipelines/text-to-image.ts";
import type { GraphRun, LoadedModel } from "../../inference/runtime/loaded-model.ts";
import { openTinyModel } from "../support/tiny-model.ts";

/** A short drawing of the tiny preset: few steps, so that tests may draw often. */
export const REQUEST: TextToImageRequest = {
  prompt: "a red circle at the top left",
  unconditionalPrompt: "Generate an image.",
  width: 96,
  height: 96,
  count: 1,
  steps: 6,
  diffusionSteps: "5",
  guidanceScale: 3,
  guidanceSchedule: "constant",
  temperature: 1,
  speed: "exact",
  seed: 1n,
};

export interface TinyPipelines {
  readonly pipelines: Pipelines;
  /** Graphs that ran since the last call. */
  takeRuns(): readonly GraphRun["graph"][];
  /** Called after every graph run. */
  onRun: (run: GraphRun) => void;
  dispose(): Promise<void>;
}

/** The tiny preset, ready to draw on one thread. */
export async function openTinyPipelines(): Promise<TinyPipelines> {
  const model = openTinyModel();
  const runs: GraphRun["graph"][] = [];
  const tiny: TinyPipelines = {
    pipelines: openPipelines(model.folder, {
      provider: "cpu",
      threads: 1,
      onRun(run) {
        runs.push(run.graph);
        tiny.onRun(run);
      },
    }),
    takeRuns: () => runs.splice(0),
    onRun: () => {},
    async dispose() {
      await tiny.pipelines.close();
      model.remove();
    },
  };
  return tiny;
}

/** The same pipeline; tells of the inputs of every graph run. */
export function noteFeeds(
  { model, tokenizer }: Unipic,
  note: (graph: GraphRun["graph"], feeds: Parameters<LoadedModel["run"]>[1]) => void,
): Unipic {
  const run: LoadedModel["run"] = (graph, feeds, wanted) => {
    note(graph, feeds);
    return model.run(graph, feeds, wanted);
  };
  const noting = new Proxy(model, {
    get: (target, key) => {
      if (key === "run") return run;
      const value = Reflect.get(target, key, target) as unknown;
      return typeof value === "function" ? (value as () => unknown).bind(target) : value;
    },
  });
  return { model: noting, tokenizer, prefixes: new PrefixCache(noting) };
}

export interface Drawing {
  /** The state after every step. */
  readonly states: readonly MarProgress[];
  readonly images: readonly RgbImage[];
}

export const draw = (
  pipelines: Unipic,
  request: TextToImageRequest,
  { from, signal = new AbortController().signal }: { from?: MarState | Uint8Array; signal?: AbortSignal } = {},
): Promise<Drawing> => collect(textToImage(pipelines, request, { from, signal }));

/** Everything that a drawing yields. */
export async function collect(events: AsyncIterable<DrawingEvent>): Promise<Drawing> {
  const states: MarProgress[] = [];
  const images: RgbImage[] = [];
  for await (const event of events) {
    if (event.kind === "step") states.push(event.progress);
    else if (event.kind === "image") images[event.index] = event.image;
  }
  return { states, images };
}

/** Equal for equal pictures: comparing their pixels one by one takes seconds. */
export function digestOf(images: readonly RgbImage[]): string {
  const hash = createHash("sha256");
  for (const { width, height, data } of images) hash.update(`${width} x ${height}`).update(data);
  return hash.digest("hex");
}

/** Largest difference of two pictures, in levels of 0..255. */
export function largestDifference(a: RgbImage, b: RgbImage): number {
  if (a.data.length !== b.data.length) throw new Error("pictures of different sizes");
  return a.data.reduce((worst, value, i) => Math.max(worst, Math.abs(value - b.data[i]!)), 0);
}
