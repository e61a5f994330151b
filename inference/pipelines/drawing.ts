/** What every task that draws has in common: its settings, what it yields, and the way from prompts to pictures. */
import { type RgbImage, rgbImageOf } from "../image/rgb-image.ts";
import type { LoadedModel } from "../runtime/loaded-model.ts";
import type { Grid } from "../runtime/position-tables.ts";
import type { Tensor } from "../runtime/tensor.ts";
import type { GuidanceSchedule } from "../sampling/guidance.ts";
import type { MaskStep } from "../sampling/mask-schedule.ts";
import { seededRandomness } from "../sampling/randomness.ts";
import { resumeStep, type Speed, stepRuns } from "../sampling/speed.ts";
import type { PromptTokenizer } from "../tokenizer/prompt-tokenizer.ts";
import { InvalidRequestError } from "./invalid-request.ts";
import { decodeCheckpoint } from "./mar-checkpoint.ts";
import {
  initialState,
  type KeptPlaces,
  type MarProgress,
  type MarState,
  sampleTokens,
  stepsOf,
  tokenCountOf,
} from "./mar-sampler.ts";
import type { Prefix } from "./prefix.ts";
import type { PrefixCache } from "./prefix-cache.ts";
import { asStage, type OnStage } from "./stages.ts";
import type { StepMember } from "./step-group.ts";
import { decodePixels } from "./vae-decode.ts";

/** What a request may ask for, as the public API has it. */
const RANGES = { guidanceScale: [0, 100], temperature: [0, 10] } as const;

/** A built model that reads prompts. */
export interface Unipic {
  readonly model: LoadedModel;
  readonly tokenizer: PromptTokenizer;
  /** Prompts without pictures. */
  readonly prefixes: PrefixCache;
}

export interface DrawingSettings {
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
  readonly speed: Speed;
  /** Unsigned, 64 bits; picture i uses the noise stream (seed, i). */
  readonly seed: bigint;
}

export type DrawingEvent =
  /** The first one: the request was accepted. */
  | { readonly kind: "started"; readonly grid: Grid; readonly stepsDone: number; readonly totalSteps: number }
  | { readonly kind: "step"; readonly progress: MarProgress }
  | { readonly kind: "image"; readonly index: number; readonly image: RgbImage };

export interface DrawingOptions {
  /** Where an earlier run of the same request stood, or its checkpoint; its steps are not repeated, but for the last few at some speeds. */
  readonly from?: MarState | Uint8Array | undefined;
  readonly signal: AbortSignal;
  /** Its part in a group that takes its steps together; alone unless given. */
  readonly member?: StepMember | undefined;
  readonly onStage?: OnStage | undefined;
}

/** The two prompts of a drawing as token ids. */
export interface PromptIds {
  readonly conditional: readonly number[];
  /** What guidance leads away from. */
  readonly unconditional: readonly number[];
}

/** What is known of a drawing before the model has read anything. */
export interface DrawingPlan {
  readonly grid: Grid;
  /** Tokens that are known from the beginning; none unless given. */
  readonly kept?: KeptPlaces;
}

/** What the model has read. */
export interface DrawingContext {
  readonly conditional: Prefix;
  /** Undefined without guidance. */
  readonly unconditional: Prefix | undefined;
  /** What stands at unknown places, [1, K + N, D]; the mask token unless given. */
  readonly canvas?: Tensor;
  /** Where the plan keeps tokens, those: [N, C] scaled latents. */
  readonly tokens?: Float32Array;
}

/** Samples the tokens of all pictures together, then decodes one after the other. */
export async function* draw(
  model: LoadedModel,
  settings: DrawingSettings,
  {
    plan,
    read,
    from,
    signal,
    member,
    onStage,
  }: DrawingOptions & { plan: DrawingPlan; read: () => Promise<DrawingContext> },
): AsyncGenerator<DrawingEvent> {
  const { grid, kept } = plan;
  const steps = stepsOf({ grid, steps: settings.steps }, kept);
  const earlier = from instanceof Uint8Array ? restoreState(model, { ...settings, grid, schedule: steps }, from) : from;
  const runs = stepRuns(steps, settings.speed, settings.guidanceScale !== 1);
  yield { kind: "started", grid, stepsDone: resumeStep(runs, earlier?.stepsDone ?? 0), totalSteps: steps.length };
  const { conditional, unconditional, canvas, tokens: known } = await read();
  const forEach = (prefix: Prefix): Prefix[] => Array<Prefix>(settings.count).fill(prefix);
  const sampling = {
    ...settings,
    grid,
    conditional: forEach(conditional),
    unconditional: unconditional === undefined ? [] : forEach(unconditional),
    randomness: seededRandomness(settings.seed),
    ...(canvas === undefined ? {} : { canvas }),
    ...(kept === undefined || known === undefined ? {} : { kept: { ...kept, tokens: known } }),
  };
  let state = earlier ?? initialState(model, sampling);
  for await (const progress of sampleTokens(model, sampling, { from: state, signal, member, onStage })) {
    state = progress;
    yield { kind: "step", progress };
  }
  for (const [index, tokens] of state.tokens.entries()) {
    signal.throwIfAborted();
    const pixels = await asStage(onStage, "decode picture", () => decodePixels(model, tokens, grid));
    yield { kind: "image", index, image: rgbImageOf(pixels, settings) };
  }
}

function restoreState(
  model: LoadedModel,
  { count, grid, schedule }: { count: number; grid: Grid; schedule: readonly MaskStep[] },
  checkpoint: Uint8Array,
): MarState {
  const { latentChannels: channels } = model.manifest.dimensions;
  return decodeCheckpoint(checkpoint, { images: count, places: tokenCountOf(grid), channels, steps: schedule });
}

/** Throws an InvalidRequestError unless every number is one that can be drawn with; the grid of tokens. */
export function checkSettings(unipic: Unipic, settings: Omit<DrawingSettings, "seed">): Grid {
  for (const key of ["guidanceScale", "temperature"] as const) {
    const [min, max] = RANGES[key];
    if (!(settings[key] >= min && settings[key] <= max)) {
      throw new InvalidRequestError(`${key} is ${settings[key]}; it must be a finite number from ${min} to ${max}.`);
    }
  }
  const grid = gridOf(unipic, settings);
  const places = tokenCountOf(grid);
  if (!Number.isInteger(settings.steps) || settings.steps < 1 || settings.steps > places) {
    throw new InvalidRequestError(`${settings.steps} steps cannot be taken for this size: use 1 to ${places}.`);
  }
  return grid;
}

/** The grid of tokens of a picture that the model can draw or read. */
export function gridOf(unipic: Unipic, { width, height }: { width: number; height: number }): Grid {
  const { vaeStride } = unipic.model.manifest.dimensions;
  if (width < vaeStride || height < vaeStride || width % vaeStride !== 0 || height % vaeStride !== 0) {
    throw new InvalidRequestError(
      `${width} x ${height} pixels cannot be drawn: both sides must be multiples of ${vaeStride}.`,
    );
  }
  const grid = { rows: height / vaeStride, columns: width / vaeStride };
  const maxTokens = maxTokenCount(unipic);
  if (tokenCountOf(grid) > maxTokens) {
    const side = Math.floor(Math.sqrt(maxTokens)) * vaeStride;
    throw new InvalidRequestError(
      `${width} x ${height} pixels are too large: this model draws up to ${maxTokens} patches of ` +
        `${vaeStride} x ${vaeStride} pixels, for example ${side} x ${side}.`,
    );
  }
  return grid;
}

/** Image tokens for which the model has positions beside the shortest prompt. */
function maxTokenCount({ model, tokenizer }: Unipic): number {
  const { prompt, dimensions } = model.manifest;
  const shortest = tokenizer.encode(prompt.template, `${prompt.textToImagePrefix}a`).length;
  return dimensions.maxPositions - dimensions.bufferTokens - shortest;
}

/** Throws an InvalidRequestError unless both prompts leave room for a picture of this grid. */
export function checkLengths({ model }: Unipic, { conditional, unconditional }: PromptIds, grid: Grid): void {
  const { maxPositions, bufferTokens } = model.manifest.dimensions;
  const room = maxPositions - bufferTokens - tokenCountOf(grid);
  const longest = Math.max(conditional.length, unconditional.length);
  if (longest > room) {
    throw new InvalidRequestError(
      `The prompt has ${longest} tokens; at this size the model reads ${room}. Shorten it.`,
    );
  }
}

export function requireText(text: string, what: string, advice: string): void {
  if (text.trim() === "") throw new InvalidRequestError(`The ${what} is empty. ${advice}`);
}

/** The steps of a request that names none: at most one for each image token. */
export function defaultSteps({ manifest }: LoadedModel, { width, height }: { width: number; height: number }): number {
  const { vaeStride } = manifest.dimensions;
  const tokens = Math.floor(width / vaeStride) * Math.floor(height / vaeStride);
  return Math.max(1, Math.min(manifest.defaults.steps, tokens));
}
