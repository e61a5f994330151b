/**
 * A prompt to pictures.
 *
 *     for await (const event of textToImage(pipeline, request, { signal })) {
 *       if (event.kind === "image") await writeImage(event.image, "picture.png");
 *     }
 */
import { type RgbImage, rgbImageOf } from "../image/rgb-image.ts";
import type { LoadedModel } from "../runtime/loaded-model.ts";
import type { Grid } from "../runtime/position-tables.ts";
import type { GuidanceSchedule } from "../sampling/guidance.ts";
import { seededRandomness } from "../sampling/randomness.ts";
import type { PromptTokenizer } from "../tokenizer/prompt-tokenizer.ts";
import { InvalidRequestError } from "./invalid-request.ts";
import { initialState, type MarProgress, type MarState, sampleTokens, tokenCountOf } from "./mar-sampler.ts";
import { prefill } from "./prefix.ts";
import { decodePixels } from "./vae-decode.ts";

/** What a request may ask for, as the public API has it. */
const RANGES = { guidanceScale: [0, 100], temperature: [0, 10] } as const;

export interface TextToImageRequest {
  readonly prompt: string;
  /** What guidance leads away from. */
  readonly unconditionalPrompt: string;
  /** Pixels; multiples of the VAE's stride. */
  readonly width: number;
  readonly height: number;
  /** Pictures, made together. */
  readonly count: number;
  /** MAR steps. */
  readonly steps: number;
  /** In the notation of the original: "100", "10,5,20" or "ddim50". */
  readonly diffusionSteps: string;
  /** 1 turns guidance off. */
  readonly guidanceScale: number;
  readonly guidanceSchedule: GuidanceSchedule;
  readonly temperature: number;
  /** Unsigned, 64 bits; picture i uses the noise stream (seed, i). */
  readonly seed: bigint;
}

export interface TextToImagePipeline {
  readonly model: LoadedModel;
  readonly tokenizer: PromptTokenizer;
}

export type TextToImageEvent =
  | { readonly kind: "step"; readonly progress: MarProgress }
  | { readonly kind: "image"; readonly index: number; readonly image: RgbImage };

/** @param from where an earlier run of the same request stood; its steps are not repeated */
export async function* textToImage(
  pipeline: TextToImagePipeline,
  request: TextToImageRequest,
  { from, signal }: { from?: MarState; signal: AbortSignal },
): AsyncGenerator<TextToImageEvent> {
  const { model } = pipeline;
  const { grid, prompts } = prepareRequest(pipeline, request);
  const conditional = await prefill(model, prompts.conditional);
  const unconditional = request.guidanceScale === 1 ? undefined : await prefill(model, prompts.unconditional);
  const images = Array.from({ length: request.count }, (_, index) => index);
  const sampling = {
    ...request,
    grid,
    conditional: images.map(() => conditional),
    unconditional: unconditional === undefined ? [] : images.map(() => unconditional),
    randomness: seededRandomness(request.seed),
  };
  let state = from ?? initialState(model, sampling);
  for await (const progress of sampleTokens(model, sampling, { from: state, signal })) {
    state = progress;
    yield { kind: "step", progress };
  }
  for (const [index, tokens] of state.tokens.entries()) {
    signal.throwIfAborted();
    yield { kind: "image", index, image: rgbImageOf(await decodePixels(model, tokens, grid), request) };
  }
}

/** What follows from a request before anything runs; throws an InvalidRequestError unless the model can draw it. */
export function prepareRequest(pipeline: TextToImagePipeline, request: TextToImageRequest) {
  for (const key of ["guidanceScale", "temperature"] as const) {
    const [min, max] = RANGES[key];
    if (!(request[key] >= min && request[key] <= max)) {
      throw new InvalidRequestError(`${key} is ${request[key]}; it must be a finite number from ${min} to ${max}.`);
    }
  }
  if (request.prompt.trim() === "") throw new InvalidRequestError("The prompt is empty. Say what to draw.");
  if (request.unconditionalPrompt.trim() === "")
    throw new InvalidRequestError("The unconditional prompt is empty. Say what guidance leads away from.");
  const grid = gridOf(pipeline, request);
  return { grid, prompts: encodePrompts(pipeline, request, grid) };
}

/** The grid of tokens of a picture, if it can be drawn in as many steps. */
function gridOf(pipeline: TextToImagePipeline, { width, height, steps }: TextToImageRequest): Grid {
  const { vaeStride } = pipeline.model.manifest.dimensions;
  if (width < vaeStride || height < vaeStride || width % vaeStride !== 0 || height % vaeStride !== 0) {
    throw new InvalidRequestError(
      `${width} x ${height} pixels cannot be drawn: both sides must be multiples of ${vaeStride}.`,
    );
  }
  const grid = { rows: height / vaeStride, columns: width / vaeStride };
  const maxTokens = maxTokenCount(pipeline);
  if (tokenCountOf(grid) > maxTokens) {
    const side = Math.floor(Math.sqrt(maxTokens)) * vaeStride;
    throw new InvalidRequestError(
      `${width} x ${height} pixels are too large: this model draws up to ${maxTokens} patches of ` +
        `${vaeStride} x ${vaeStride} pixels, for example ${side} x ${side}.`,
    );
  }
  if (!Number.isInteger(steps) || steps < 1 || steps > tokenCountOf(grid)) {
    throw new InvalidRequestError(`${steps} steps cannot be taken for this size: use 1 to ${tokenCountOf(grid)}.`);
  }
  return grid;
}

/** Image tokens for which the model has positions beside the shortest prompt. */
function maxTokenCount({ model, tokenizer }: TextToImagePipeline): number {
  const { prompt, dimensions } = model.manifest;
  const shortest = tokenizer.encode(prompt.template, `${prompt.textToImagePrefix}a`).length;
  return dimensions.maxPositions - dimensions.bufferTokens - shortest;
}

/** The steps of a request that names none: at most one for each image token. */
export function defaultSteps({ manifest }: LoadedModel, { width, height }: { width: number; height: number }): number {
  const { vaeStride } = manifest.dimensions;
  const tokens = Math.floor(width / vaeStride) * Math.floor(height / vaeStride);
  return Math.max(1, Math.min(manifest.defaults.steps, tokens));
}

function encodePrompts({ model, tokenizer }: TextToImagePipeline, request: TextToImageRequest, grid: Grid) {
  const { prompt, dimensions } = model.manifest;
  const conditional = tokenizer.encode(prompt.template, prompt.textToImagePrefix + request.prompt);
  const unconditional = tokenizer.encode(prompt.template, request.unconditionalPrompt);
  const room = dimensions.maxPositions - dimensions.bufferTokens - tokenCountOf(grid);
  const longest = Math.max(conditional.length, unconditional.length);
  if (longest > room) {
    throw new InvalidRequestError(
      `The prompt has ${longest} tokens; at this size the model reads ${room}. Shorten it.`,
    );
  }
  return { conditional, unconditional };
}
