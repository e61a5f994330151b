/** From what a user asked for to a task that can run: defaults of the preset, and a clear refusal of anything it cannot do. */
import { randomBytes } from "node:crypto";
import { DomainError } from "../platform/errors.ts";
import type { Speed } from "../platform/speed.type.ts";
import { isStorable } from "../platform/text.ts";
import type { DrawingOffer, OfferedPreset, Size } from "./preset-catalog.ts";
import type {
  DrawingSettings,
  ImageEditSettings,
  ImageToTextSettings,
  ImageVariationSettings,
  Picture,
  TextToImageSettings,
} from "./settings.ts";

const MAX_PROMPT_CHARACTERS = 4000;
const MAX_GUIDANCE_SCALE = 100;
const MAX_TEMPERATURE = 10;
/** The likeliest token alone, or one patch of a picture. */
const MIN_SHARE = 0.000_001;
const MAX_SEED = 2n ** 64n - 1n;
/** Tokens of an answer unless asked for otherwise: what they cost at most is held. */
const DEFAULT_MAX_TOKENS = 256;

/** What is left out takes the preset's default. */
export interface DrawingWish {
  readonly unconditionalPrompt?: string | undefined;
  readonly width?: number | undefined;
  readonly height?: number | undefined;
  readonly count: number;
  readonly steps?: number | undefined;
  readonly guidanceScale?: number | undefined;
  readonly guidanceSchedule: DrawingSettings["guidanceSchedule"];
  readonly temperature?: number | undefined;
  readonly speed: Speed;
  readonly seed?: string | undefined;
}

export interface TextToImageWish extends DrawingWish {
  readonly prompt: string;
}

export interface ImageEditWish extends DrawingWish {
  readonly instruction: string;
}

export interface ImageVariationWish extends DrawingWish {
  readonly strength: number;
  readonly prompt?: string | undefined;
}

export interface ImageToTextWish {
  readonly question: string;
  readonly size?: number | undefined;
  readonly maxTokens?: number | undefined;
  readonly temperature: number;
  readonly topP: number;
  readonly seed?: string | undefined;
}

/** The named preset, or the only one that there is for the caller. @param allowed those the caller may use; all when null */
export function choosePreset(
  presets: readonly OfferedPreset[],
  name: string | undefined,
  allowed: readonly string[] | null,
): OfferedPreset {
  if (presets.length === 0) {
    throw new DomainError("UNAVAILABLE", "No worker has been seen yet. Try again in a moment.", {
      retryable: true,
      retryAfterMs: 2000,
    });
  }
  const usable = presets.filter((preset) => allowed === null || allowed.includes(preset.name));
  const found = name === undefined && usable.length === 1 ? usable[0] : usable.find((preset) => preset.name === name);
  if (found !== undefined) return found;
  if (allowed !== null) return refusePreset(name, allowed);
  const names = presets.map((preset) => preset.name).join(", ");
  const problem = name === undefined ? "Name a preset." : `There is no preset "${name}".`;
  throw new DomainError("INVALID_INPUT", `${problem} Offered: ${names}.`, { path: ["input", "preset"] });
}

function refusePreset(name: string | undefined, allowedPresets: readonly string[]): never {
  const problem = name === undefined ? "Name a preset." : `This API key may not use the preset "${name}".`;
  throw new DomainError("PRESET_NOT_ALLOWED", `${problem} Allowed: ${allowedPresets.join(", ")}.`, {
    path: ["input", "preset"],
    type: "PresetError",
    facts: { allowedPresets },
  });
}

export function resolveTextToImage(wish: TextToImageWish, preset: OfferedPreset): TextToImageSettings {
  const fields = new Fields("textToImage");
  const offer = preset.textToImage ?? fields.refuse("", `The preset ${preset.name} does not draw. Choose another one.`);
  fields.checkText("prompt", wish.prompt);
  return { prompt: wish.prompt, ...resolveDrawing(wish, offer, fields) };
}

export function resolveImageEdit(
  wish: ImageEditWish,
  { source, mask }: { source: Picture; mask: Picture | undefined },
  preset: OfferedPreset,
): ImageEditSettings {
  const fields = new Fields("imageEdit");
  const offer =
    preset.imageEdit ?? fields.refuse("", `The preset ${preset.name} does not edit pictures. Choose another one.`);
  fields.checkText("instruction", wish.instruction);
  const settings = { instruction: wish.instruction, ...resolveDrawing(wish, offer, fields), source };
  return mask === undefined ? settings : { ...settings, mask };
}

export function resolveImageVariation(
  wish: ImageVariationWish,
  source: Picture,
  preset: OfferedPreset,
): ImageVariationSettings {
  const fields = new Fields("imageVariation");
  const offer =
    preset.imageVariation ?? fields.refuse("", `The preset ${preset.name} does not vary pictures. Choose another one.`);
  const { prompt, strength } = wish;
  if (prompt !== undefined) fields.checkText("prompt", prompt);
  fields.checkRange("strength", strength, [MIN_SHARE, 1]);
  const settings = { ...resolveDrawing(wish, offer, fields), source, strength };
  return prompt === undefined ? settings : { ...settings, prompt };
}

export function resolveImageToText(
  { question, temperature, topP, ...wish }: ImageToTextWish,
  image: Picture,
  preset: OfferedPreset,
): ImageToTextSettings {
  const fields = new Fields("imageToText");
  const offer =
    preset.imageToText ?? fields.refuse("", `The preset ${preset.name} does not read pictures. Choose another one.`);
  fields.checkText("question", question);
  const size = wish.size ?? offer.defaultSize;
  if (!offer.sizes.includes(size)) {
    fields.refuse("size", `This preset does not look at ${size} pixels. Allowed: ${offer.sizes.join(", ")}.`);
  }
  const maxTokens = wish.maxTokens ?? Math.min(DEFAULT_MAX_TOKENS, offer.maxTokens);
  fields.checkRange("maxTokens", maxTokens, [1, offer.maxTokens]);
  fields.checkRange("temperature", temperature, [0, MAX_TEMPERATURE]);
  fields.checkRange("topP", topP, [MIN_SHARE, 1]);
  return { question, image, size, maxTokens, temperature, topP, seed: fields.seed(wish.seed) };
}

function resolveDrawing(wish: DrawingWish, offer: DrawingOffer, fields: Fields): DrawingSettings {
  const width = wish.width ?? wish.height ?? offer.defaultSize.width;
  const height = wish.height ?? wish.width ?? offer.defaultSize.height;
  const { sizeStep } = offer;
  if (!isPossibleSize({ width, height }, offer)) {
    const best = offer.sizes.map((size) => `${size.width}x${size.height}`).join(", ");
    fields.refuse(
      "width",
      `${width}x${height} pixels are not offered by this preset. Allowed: ${best}, ` +
        `or sides that are multiples of ${sizeStep} with at most ${offer.maxPixels} pixels together.`,
    );
  }
  const maxSteps = Math.min(offer.maxSteps, Math.floor((width * height) / sizeStep ** 2));
  if (wish.unconditionalPrompt !== undefined) fields.checkText("unconditionalPrompt", wish.unconditionalPrompt);
  const settings: DrawingSettings = {
    unconditionalPrompt: wish.unconditionalPrompt ?? offer.defaultUnconditionalPrompt,
    width,
    height,
    count: wish.count,
    steps: wish.steps ?? Math.min(offer.defaultSteps, maxSteps),
    guidanceScale: wish.guidanceScale ?? offer.defaultGuidanceScale,
    guidanceSchedule: wish.guidanceSchedule,
    temperature: wish.temperature ?? offer.defaultTemperature,
    speed: wish.speed,
    seed: fields.seed(wish.seed),
  };
  fields.checkRange("count", settings.count, [1, offer.maxCount]);
  fields.checkRange("steps", settings.steps, [1, maxSteps]);
  fields.checkRange("guidanceScale", settings.guidanceScale, [0, MAX_GUIDANCE_SCALE]);
  fields.checkRange("temperature", settings.temperature, [0, MAX_TEMPERATURE]);
  const speeds = offer.speeds.map(({ speed }) => speed);
  if (!speeds.includes(settings.speed)) {
    fields.refuse("speed", `${settings.speed} is not offered by this preset. Allowed: ${speeds.join(", ")}.`);
  }
  return settings;
}

function isPossibleSize({ width, height }: Size, { sizes, sizeStep, maxPixels }: DrawingOffer): boolean {
  if (sizes.some((size) => size.width === width && size.height === height)) return true;
  const isMultiple = [width, height].every((side) => side > 0 && side % sizeStep === 0);
  return isMultiple && width * height <= maxPixels;
}

/** The fields of one task's input: a refusal names the one that is wrong. */
class Fields {
  constructor(private readonly task: keyof typeof ADVICE) {}

  checkText(field: string, text: string): void {
    if (text.trim() === "") this.refuse(field, `${field} is empty. ${ADVICE[this.task]}`);
    if (!isStorable(text)) this.refuse(field, `${field} contains a NUL or half a character. Send valid Unicode text.`);
    if (text.length > MAX_PROMPT_CHARACTERS) {
      this.refuse(
        field,
        `${field} has ${text.length} characters; at most ${MAX_PROMPT_CHARACTERS} are read. Shorten it.`,
      );
    }
  }

  checkRange(field: string, value: number, [min, max]: readonly [number, number]): void {
    if (!(value >= min && value <= max))
      this.refuse(field, `${field} is ${value}; this preset allows ${min} to ${max}.`);
  }

  /** The wish, or a random one. */
  seed(wish: string | undefined): string {
    if (wish === undefined) return randomBytes(8).readBigUInt64LE().toString();
    if (!/^\d{1,20}$/.test(wish) || BigInt(wish) > MAX_SEED) {
      this.refuse("seed", `seed "${wish}" is not a whole number from 0 to ${MAX_SEED}, written as a string.`);
    }
    return BigInt(wish).toString();
  }

  refuse(field: string, message: string): never {
    throw new DomainError("INVALID_INPUT", message, {
      path: ["input", "task", this.task, field].filter((part) => part !== ""),
    });
  }
}

const ADVICE = {
  textToImage: "Say what to draw.",
  imageEdit: "Say what to change.",
  imageVariation: "Say what to draw, or leave it out.",
  imageToText: "Say what to answer.",
} as const;
