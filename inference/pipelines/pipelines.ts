/** A built model with everything its tasks need. */
import { InvalidImageError, readImage } from "../image/read-image.ts";
import { encodePng, type RgbImage } from "../image/rgb-image.ts";
import { type GraphName, loadManifest } from "../manifest.ts";
import { LoadedModel, type LoadOptions } from "../runtime/loaded-model.ts";
import { SPEED_DESCRIPTIONS, SPEEDS, type Speed } from "../sampling/speed.ts";
import { PromptTokenizer } from "../tokenizer/prompt-tokenizer.ts";
import type { Unipic } from "./drawing.ts";
import { InvalidRequestError } from "./invalid-request.ts";
import { PrefixCache } from "./prefix-cache.ts";

/** Pictures of one generation. */
const MAX_COUNT = 4;
/** More steps than anyone uses; with them the checkpoint of MAX_COUNT pictures of 1024 px stays below 1 MiB. */
const MAX_STEPS = 256;

const MAX_ANSWER_TOKENS = 1024;

export interface Pipelines extends Unipic {
  close(): Promise<void>;
}

export function openPipelines(folder: string, options: LoadOptions): Pipelines {
  const model = LoadedModel.open(folder, options);
  if (!model.manifest.hasTokenizer) {
    throw new Error(
      `${folder} has no tokenizer: its checkpoint folder had no Qwen2.5-1.5B-Instruct/tokenizer.json. Add it and build again.`,
    );
  }
  const tokenizer = PromptTokenizer.load(folder);
  return { model, tokenizer, prefixes: new PrefixCache(model), close: () => model.close() };
}

const TEXT_TO_IMAGE_GRAPHS = [
  "mar-encoder",
  "llm",
  "mar-decoder",
  "diffusion-time",
  "diffusion-condition",
  "diffusion-head",
  "vae-decoder",
] as const satisfies readonly GraphName[];

/** Opens the sessions of text-to-image, so that the first generation does not wait for them; others open when needed. */
export const warmUp = ({ model }: Unipic): Promise<void> => model.warmUp(TEXT_TO_IMAGE_GRAPHS);

/** A model as its users see it: what it accepts, and what it does unless told otherwise. */
export interface ModelOffer {
  readonly preset: string;
  readonly digest: string;
  /** Sides of the square pictures that it draws best. */
  readonly sizes: readonly number[];
  /** Sides of any picture are multiples of it. */
  readonly sizeStep: number;
  readonly maxPixels: number;
  readonly defaultSize: number;
  readonly maxSteps: number;
  readonly defaultSteps: number;
  readonly diffusionSteps: string;
  readonly maxCount: number;
  readonly speeds: readonly { readonly name: Speed; readonly description: string }[];
  readonly guidanceScale: number;
  readonly editGuidanceScale: number;
  readonly temperature: number;
  readonly textToImageUnconditional: string;
  readonly imageEditUnconditional: string;
  /** Tokens of an answer. */
  readonly maxTokens: number;
}

/** Sizes: the default one and the one that the model's position tables were trained for. */
export function describeModel(folder: string): ModelOffer {
  const { preset, digest, defaults, dimensions, prompt } = loadManifest(folder);
  const native = dimensions.nativeGrid * dimensions.vaeStride;
  const largest = Math.max(defaults.size, native);
  const tokens = (largest / dimensions.vaeStride) ** 2;
  const positionsLeft = dimensions.maxPositions - tokens - dimensions.bufferTokens; // half of them for the question
  return {
    preset,
    digest,
    sizes: [...new Set([defaults.size, native])].sort((a, b) => a - b),
    sizeStep: dimensions.vaeStride,
    maxPixels: largest ** 2,
    defaultSize: defaults.size,
    maxSteps: Math.min(MAX_STEPS, tokens),
    defaultSteps: defaults.steps,
    diffusionSteps: defaults.diffusionSteps,
    maxCount: MAX_COUNT,
    speeds: SPEEDS.map((name) => ({ name, description: SPEED_DESCRIPTIONS[name] })),
    guidanceScale: defaults.guidanceScale,
    temperature: defaults.temperature,
    editGuidanceScale: defaults.editGuidanceScale,
    textToImageUnconditional: prompt.textToImageUnconditional,
    imageEditUnconditional: prompt.imageEditUnconditional,
    maxTokens: Math.min(MAX_ANSWER_TOKENS, Math.floor(positionsLeft / 2)),
  };
}

/** A picture as somebody sent it; an InvalidRequestError says what is wrong with it. */
export async function readPicture(bytes: Uint8Array): Promise<RgbImage> {
  try {
    return await readImage(bytes);
  } catch (error) {
    if (error instanceof InvalidImageError) throw new InvalidRequestError(error.message, { cause: error });
    throw error;
  }
}

export const toPng = (image: RgbImage): Promise<Buffer> => encodePng(image);
