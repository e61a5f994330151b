/** One prompt through every graph of a model, with a look at every number on the way. */
import { copyFileSync, linkSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { withInnerResults } from "../graph/inner-results.ts";
import type { RgbImage } from "../image/rgb-image.ts";
import { GRAPH_NAMES, type GraphName, loadManifest, MANIFEST_FILE, WEIGHTS_FILE } from "../manifest.ts";
import { imageEdit } from "../pipelines/image-edit.ts";
import { imageToText } from "../pipelines/image-to-text.ts";
import { openPipelines, type Pipelines } from "../pipelines/pipelines.ts";
import { textToImage } from "../pipelines/text-to-image.ts";
import type { LoadedModel, LoadOptions } from "../runtime/loaded-model.ts";
import type { Tensor } from "../runtime/tensor.ts";

/** Half of the largest fp16 number, 65504: a prompt that is a little less lucky would pass it. */
const FP16_NEAR = 32752;
/** fp16 bits of 32752 without the sign; from 0x7c00 on they are infinite or NaN. */
const FP16_NEAR_BITS = 0x77ff;
/** What hides places from attention is the lowest fp32 number, and means no value. */
const MASK = 3e38;
const PATCHES = 4;

export interface LargeNumber {
  readonly graph: GraphName;
  readonly tensor: string;
  readonly value: number;
}

export interface NumbersReport {
  readonly graphs: readonly GraphName[];
  readonly tensors: number;
  /** The largest fp32 number; undefined while all are below the limit of fp16. */
  readonly beyondFp16: LargeNumber | undefined;
}

/** Throws an error that names graph and tensor where a number is NaN, infinite, or in an fp16 tensor near its limit. */
export async function checkModelNumbers(folder: string, options: LoadOptions): Promise<NumbersReport> {
  const scratch = mkdtempSync(join(dirname(resolve(folder)), `.${basename(resolve(folder))}.doctor-`));
  try {
    const names = copyWithInnerResults(folder, scratch);
    const watch = new NumberWatch();
    const pipelines = openPipelines(scratch, options);
    try {
      await runAllTasks({ ...pipelines, model: watched(pipelines.model, names, watch) });
    } finally {
      await pipelines.close();
    }
    const graphs = GRAPH_NAMES.filter((name) => watch.graphs.has(name));
    return { graphs, tensors: watch.tensors.size, beyondFp16: watch.largest };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Hard links cost no space; the runtime accepts no weights outside of the folder of its graph. */
function copyWithInnerResults(folder: string, scratch: string): ReadonlyMap<GraphName, readonly string[]> {
  const manifest = loadManifest(folder);
  linkSync(join(folder, WEIGHTS_FILE), join(scratch, WEIGHTS_FILE));
  for (const name of [MANIFEST_FILE, "tokenizer.json", "tokenizer_config.json"])
    copyFileSync(join(folder, name), join(scratch, name));
  return new Map(
    GRAPH_NAMES.map((graph) => {
      const { file } = manifest.graphs[graph];
      const { model, names } = withInnerResults(readFileSync(join(folder, file)));
      writeFileSync(join(scratch, file), model);
      return [graph, names];
    }),
  );
}

/** The same model, which asks every graph for its inner results, too. */
function watched(
  model: LoadedModel,
  names: ReadonlyMap<GraphName, readonly string[]>,
  watch: NumberWatch,
): LoadedModel {
  const run: LoadedModel["run"] = async (graph, feeds, wanted) => {
    const all = [...(names.get(graph) ?? []), ...wanted]; // as they are computed: the first bad one is the cause
    const results = await model.run<string>(graph, feeds, all);
    for (const name of all) {
      const tensor = results[name];
      if (tensor !== undefined) watch.look(graph, name, tensor);
    }
    return results as Awaited<ReturnType<typeof model.run<(typeof wanted)[number]>>>;
  };
  return Object.assign(Object.create(model) as LoadedModel, { run });
}

async function runAllTasks(pipelines: Pipelines): Promise<void> {
  const { dimensions, prompt } = pipelines.model.manifest;
  const side = PATCHES * dimensions.vaeStride;
  const signal = new AbortController().signal;
  const settings = { width: side, height: side, count: 1, steps: 2, diffusionSteps: "4", guidanceScale: 2 };
  const rest = { ...settings, guidanceSchedule: "constant", temperature: 1, seed: 1n, speed: "exact" } as const;
  const drawn: RgbImage[] = [];
  const text = { prompt: "a red circle", unconditionalPrompt: prompt.textToImageUnconditional };
  for await (const event of textToImage(pipelines, { ...rest, ...text }, { signal }))
    if (event.kind === "image") drawn.push(event.image);
  const [source] = drawn;
  if (source === undefined) throw new Error("The model drew no picture.");
  const edit = { source, instruction: "make it blue", unconditionalPrompt: prompt.imageEditUnconditional };
  for await (const _ of imageEdit(pipelines, { ...rest, ...edit }, { signal }));
  const question = { image: source, question: "What is this?", size: side, maxTokens: 2 };
  for await (const _ of imageToText(pipelines, question, { signal }));
}

class NumberWatch {
  readonly graphs = new Set<GraphName>();
  readonly tensors = new Set<string>();
  largest: LargeNumber | undefined;

  look(graph: GraphName, name: string, tensor: Tensor): void {
    this.graphs.add(graph);
    this.tensors.add(`${graph}:${name}`);
    if (tensor.data instanceof Float32Array) this.lookAtFloat32({ graph, tensor: name }, tensor.data);
    else if (tensor.type === "float16") lookAtFloat16({ graph, tensor: name }, tensor.data as Uint16Array);
  }

  private lookAtFloat32(place: Omit<LargeNumber, "value">, values: Float32Array): void {
    for (const value of values) {
      if (!Number.isFinite(value)) throw failure(place, `a number is ${value}`);
      const size = Math.abs(value);
      if (size < FP16_NEAR || size > MASK || size <= Math.abs(this.largest?.value ?? 0)) continue;
      this.largest = { ...place, value };
    }
  }
}

function lookAtFloat16(place: Omit<LargeNumber, "value">, bits: Uint16Array): void {
  for (const word of bits) {
    const size = word & 0x7fff;
    if (size >= 0x7c00) throw failure(place, "an fp16 number is infinite or NaN");
    if (size >= FP16_NEAR_BITS) throw failure(place, `an fp16 number is beyond ${FP16_NEAR}, near the limit of 65504`);
  }
}

const failure = ({ graph, tensor }: Omit<LargeNumber, "value">, problem: string): Error =>
  new Error(
    `In the graph ${graph}, tensor ${tensor}, ${problem}. ` +
      "Build the model again in another dtype (--dtype float32), and if that fails too, download its checkpoint again.",
  );
