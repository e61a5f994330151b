/**
 * What both sides do: a whole picture, and each stage of the model with the same inputs, taken from the middle of that
 * picture. Names are the reference's own (serve.py).
 */

import { DiffusionSampler } from "../../inference/pipelines/diffusion-sampler.ts";
import type { Pipelines } from "../../inference/pipelines/pipelines.ts";
import { pastOf, prefill } from "../../inference/pipelines/prefix.ts";
import { PrefixCache } from "../../inference/pipelines/prefix-cache.ts";
import { type TextToImageRequest, textToImage } from "../../inference/pipelines/text-to-image.ts";
import { float32, int64, type Tensor, valuesOf } from "../../inference/runtime/tensor.ts";
import { diffusionSchedule } from "../../inference/sampling/diffusion-schedule.ts";
import { type MaskStep, maskSteps, placesOfStep } from "../../inference/sampling/mask-schedule.ts";
import { seededRandomness } from "../../inference/sampling/randomness.ts";
import { defaultDrawing } from "../measuring/default-drawing.ts";
import { floats, type Input, integers, type TensorMessage } from "./reference-process.ts";

export interface Task {
  readonly name: string;
  /** What one run is. */
  readonly description: string;
  /** For the reference. */
  readonly inputs: Readonly<Record<string, Input>>;
  readonly run: () => Promise<unknown>;
  /** What must be equal: the reference's names of results, and ours. Bytes may differ by one. */
  readonly results: () => Promise<Readonly<Record<string, Float32Array>>>;
}

/** Everything that both sides start from. */
interface Scene {
  readonly pipelines: Pipelines;
  readonly request: TextToImageRequest;
  readonly ids: readonly (readonly number[])[];
  readonly grid: { readonly rows: number; readonly columns: number };
  readonly order: Uint32Array;
  /** The step in the middle, and the tokens before it: [N, C] */
  readonly step: MaskStep;
  readonly tokens: Float32Array;
}

const SEED = 7n;

export async function tasksOf(pipelines: Pipelines): Promise<readonly Task[]> {
  const scene = await sceneOf(pipelines);
  const encoder = encoderTask(scene);
  const { x_enc, z_enc } = (await encoder.run()) as Features;
  const llm = await languageModelTask(scene, z_enc);
  const { hidden } = (await llm.run()) as { hidden: Tensor };
  const decoder = decoderTask(scene, x_enc, hidden);
  const { z } = (await decoder.run()) as { z: Tensor };
  const vae = await vaeTasks(scene);
  return [pictureTask(scene), prefillTask(scene), encoder, llm, decoder, await diffusionTask(scene, z), ...vae];
}

async function sceneOf(pipelines: Pipelines): Promise<Scene> {
  const { defaults, dimensions, prompt } = pipelines.model.manifest;
  const request = defaultDrawing(pipelines.model.manifest, { prompt: "a red circle left of a blue star", seed: SEED });
  const side = defaults.size / dimensions.vaeStride;
  const schedule = maskSteps({ tokenCount: side ** 2, steps: request.steps });
  const middle = schedule.length >> 1;
  const { tokens } = await drawn(pipelines, request, middle);
  const encode = (text: string): readonly number[] => pipelines.tokenizer.encode(prompt.template, text);
  return {
    pipelines,
    request,
    ids: [encode(prompt.textToImagePrefix + request.prompt), encode(request.unconditionalPrompt)],
    grid: { rows: side, columns: side },
    order: seededRandomness(SEED).order(0, side ** 2),
    step: schedule[middle] as MaskStep,
    tokens,
  };
}

interface Drawn {
  /** [N, C] */
  tokens: Float32Array;
  bytes: Uint8Array;
}

/** Tokens after `steps` steps or in the end, and then the picture. */
async function drawn(pipelines: Pipelines, request: TextToImageRequest, steps = request.steps + 1): Promise<Drawn> {
  const result: Drawn = { tokens: new Float32Array(0), bytes: new Uint8Array(0) };
  // Every picture reads its prompts, as the reference does: nothing is left of the one before.
  const unipic = { ...pipelines, prefixes: new PrefixCache(pipelines.model) };
  for await (const event of textToImage(unipic, request, { signal: new AbortController().signal })) {
    if (event.kind === "step") result.tokens = event.progress.tokens[0] ?? result.tokens;
    if (event.kind === "image") result.bytes = event.image.data;
    if (event.kind === "step" && event.progress.stepsDone === steps) break;
  }
  return result;
}

function pictureTask({ pipelines, request, ids, grid, order }: Scene): Task {
  const { dimensions, tokens } = pipelines.model.manifest;
  const schedule = maskSteps({ tokenCount: order.length, steps: request.steps });
  const noises = schedule.map((step) =>
    noiseOf(request, placesOfStep(order, step).predicted, step.step, dimensions.latentChannels),
  );
  const run = () => drawn(pipelines, request);
  return {
    name: "text_to_image",
    description: `prompt to ${request.width} x ${request.height} pixels, ${request.steps} steps, guidance ${request.guidanceScale}`,
    inputs: {
      ...paddedRows(ids, tokens.eos),
      orders: integers(order, [1, order.length]),
      noise: joinedNoise(noises, dimensions.latentChannels),
      predicted: schedule.map(({ predicted }) => predicted),
      grid: [grid.rows, grid.columns],
      steps: request.steps,
      guidance: request.guidanceScale,
      temperature: request.temperature,
    },
    run,
    results: async () => {
      const { tokens: latents, bytes } = await run();
      return { tokens: latents, bytes: Float32Array.from(bytes) };
    },
  };
}

function prefillTask({ pipelines: { model }, ids }: Scene): Task {
  const run = async () => {
    const prefixes = [];
    for (const row of ids) prefixes.push(await prefill(model, row));
    return prefixes;
  };
  return {
    name: "prefill",
    description: `the prompts, ${ids.map(({ length }) => length).join(" and ")} tokens`,
    inputs: { ids: paddedRows(ids, model.manifest.tokens.eos).ids },
    run,
    // The longer row has no padding, which would differ.
    results: async () => {
      const [first] = await run();
      return { first_row_keys: first?.keys.at(-1) ?? new Float32Array(0) };
    },
  };
}

interface Features {
  readonly x_enc: Tensor;
  readonly z_enc: Tensor;
}

function encoderTask({ pipelines: { model }, grid, order, step, tokens }: Scene): Task {
  const { latentChannels: channels, encoderWidth } = model.manifest.dimensions;
  const { visible } = placesOfStep(order, step);
  const latents = Float32Array.from(
    [...visible].flatMap((place) => [...tokens.subarray(place * channels, (place + 1) * channels)]),
  );
  const table = model.positionTable("encoder", grid);
  const run = () =>
    model.run(
      "mar-encoder",
      {
        tokens: float32(twice(latents), [2, visible.length, channels]),
        visible: int64([...visible, ...visible], [2, visible.length]),
        position_table: float32(table, [table.length / encoderWidth, encoderWidth]),
      },
      ["x_enc", "z_enc"],
    );
  return {
    name: "mar_encoder",
    description: `2 rows, ${visible.length} of ${order.length} tokens visible; with proj_in`,
    inputs: {
      tokens: floats(twice(tokens), [2, order.length, channels]),
      mask: maskOf(order, visible),
      grid: [grid.rows, grid.columns],
    },
    run,
    results: async () => {
      const { x_enc, z_enc } = await run();
      return { x_enc: valuesOf(x_enc), z_enc: valuesOf(z_enc) };
    },
  };
}

async function languageModelTask({ pipelines: { model }, ids }: Scene, embeds: Tensor): Promise<Task> {
  const prefixes = [];
  for (const row of ids) prefixes.push(await prefill(model, row));
  const past = pastOf(model, prefixes);
  const run = () => model.run("llm", { embeds, ...past }, ["hidden"]);
  return {
    name: "llm",
    description: `2 rows of ${embeds.dims[1]} embeddings behind the prompts`,
    inputs: { ...paddedRows(ids, model.manifest.tokens.eos), z: floats(valuesOf(embeds), embeds.dims) },
    run,
    results: async () => ({ hidden: valuesOf((await run()).hidden) }),
  };
}

function decoderTask({ pipelines: { model }, grid, order, step }: Scene, x_enc: Tensor, hidden: Tensor): Task {
  const { bufferTokens, decoderWidth } = model.manifest.dimensions;
  const { visible } = placesOfStep(order, step);
  const every = Array.from(order, (_, place) => place);
  const rowOf = new Map(Array.from(visible, (place, row) => [place, bufferTokens + row]));
  const buffers = Array.from({ length: bufferTokens }, (_, buffer) => buffer);
  const index = [...buffers, ...every.map((place) => rowOf.get(place) ?? -1)];
  const table = (kind: "decoder" | "diffusion"): Tensor => {
    const values = model.positionTable(kind, grid);
    return float32(values, [values.length / decoderWidth, decoderWidth]);
  };
  const run = () =>
    model.run(
      "mar-decoder",
      {
        x_enc,
        hidden,
        canvas: float32(model.tensor("mask_token"), [1, 1, decoderWidth]),
        canvas_index: int64([...index, ...index], [2, index.length]),
        predict: int64([...every, ...every], [2, every.length]),
        position_table: table("decoder"),
        diffusion_table: table("diffusion"),
      },
      ["z"],
    );
  return {
    name: "mar_decoder",
    description: `2 rows of ${index.length}, all of them wanted; with proj_out`,
    inputs: {
      encoded: floats(valuesOf(x_enc), x_enc.dims),
      hidden: floats(valuesOf(hidden), hidden.dims),
      mask: maskOf(order, visible),
      grid: [grid.rows, grid.columns],
    },
    run,
    results: async () => ({ z: valuesOf((await run()).z) }),
  };
}

async function diffusionTask({ pipelines: { model }, request, order, step }: Scene, z: Tensor): Promise<Task> {
  const { latentChannels, decoderWidth } = model.manifest.dimensions;
  const { predicted } = placesOfStep(order, step);
  const all = valuesOf(z);
  const rows = [0, order.length].flatMap((first) => Array.from(predicted, (place) => first + place));
  const conditions = Float32Array.from(
    rows.flatMap((row) => [...all.subarray(row * decoderWidth, (row + 1) * decoderWidth)]),
  );
  const dims = [rows.length, decoderWidth];
  const sampler = await DiffusionSampler.create(model, request.diffusionSteps);
  const randomness = seededRandomness(SEED);
  const run = () =>
    sampler.sample(
      {
        conditions: float32(conditions, dims),
        tokensPerPart: predicted.length,
        parts: [
          {
            guidanceScale: request.guidanceScale,
            temperature: request.temperature,
            fillNoise: (out, draw) => randomness.fillNoise(out, { image: 0, step: step.step, draw, places: predicted }),
          },
        ],
      },
      () => {},
    );
  return {
    name: "diffusion",
    description: `${predicted.length} tokens under 2 conditions, ${diffusionSchedule(request.diffusionSteps).times.length} reverse steps`,
    inputs: {
      conditions: floats(conditions, dims),
      noise: joinedNoise([noiseOf(request, predicted, step.step, latentChannels)], latentChannels),
      guidance: request.guidanceScale,
      temperature: request.temperature,
    },
    run,
    results: async () => ({ latents: await run() }),
  };
}

async function vaeTasks({ pipelines, request, grid }: Scene): Promise<readonly Task[]> {
  const { model } = pipelines;
  const { latentChannels } = model.manifest.dimensions;
  const { tokens } = await drawn(pipelines, request);
  const latentDims = [1, grid.rows, grid.columns, latentChannels];
  const decode = () => model.run("vae-decoder", { tokens: float32(tokens, latentDims) }, ["pixels"]);
  const { pixels } = await decode();
  const encode = () => model.run("vae-encoder", { pixels }, ["tokens"]);
  return [
    {
      name: "vae_decode",
      description: `1 picture of ${request.width} x ${request.height}`,
      inputs: { latents: floats(tokens, latentDims) },
      run: decode,
      results: async () => ({ pixels: valuesOf((await decode()).pixels) }),
    },
    {
      name: "vae_encode",
      description: `1 picture of ${request.width} x ${request.height}`,
      inputs: { pixels: floats(valuesOf(pixels), pixels.dims) },
      run: encode,
      results: async () => ({ latents: valuesOf((await encode()).tokens) }),
    },
  ];
}

const twice = (values: Float32Array): Float32Array => {
  const both = new Float32Array(2 * values.length);
  both.set(values);
  both.set(values, values.length);
  return both;
};

/** [2, N], 1 where unknown */
function maskOf(order: Uint32Array, visible: Uint32Array): TensorMessage {
  const mask = new Float32Array(order.length).fill(1);
  for (const place of visible) mask[place] = 0;
  return floats(twice(mask), [2, mask.length]);
}

/** Rows of ids as the original has them: padded on the right, with 1 where a place counts. */
function paddedRows(rows: readonly (readonly number[])[], eos: number): { ids: TensorMessage; valid: TensorMessage } {
  const longest = Math.max(...rows.map(({ length }) => length));
  const places = Array.from({ length: longest }, (_, place) => place);
  const dims = [rows.length, longest];
  return {
    ids: integers(
      rows.flatMap((row) => places.map((place) => row[place] ?? eos)),
      dims,
    ),
    valid: integers(
      rows.flatMap((row) => places.map((place) => (place < row.length ? 1 : 0))),
      dims,
    ),
  };
}

/** The noise of one step as ours draws it, one row of values for each draw: [S + 1, places, channels] */
function noiseOf(
  { diffusionSteps, seed }: TextToImageRequest,
  places: Uint32Array,
  step: number,
  channels: number,
): Float32Array[] {
  const randomness = seededRandomness(seed);
  return Array.from({ length: diffusionSchedule(diffusionSteps).times.length + 1 }, (_, draw) => {
    const out = new Float32Array(places.length * channels);
    randomness.fillNoise(out, { image: 0, step, draw, places });
    return out;
  });
}

/** Steps side by side: [S + 1, places of all steps, channels] */
function joinedNoise(steps: readonly (readonly Float32Array[])[], channels: number): TensorMessage {
  const draws = steps[0]?.length ?? 0;
  const values = Array.from({ length: draws }, (_, draw) => steps.flatMap((step) => [...(step[draw] ?? [])]));
  return floats(Float32Array.from(values.flat()), [draws, (values[0]?.length ?? 0) / channels, channels]);
}
