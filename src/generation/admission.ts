/** From what a user asked for to settings that can run: defaults of the preset, and a clear refusal of anything it cannot do. */
import { randomBytes } from "node:crypto";
import { DomainError } from "../platform/errors.ts";
import type { OfferedPreset, TextToImageOffer } from "./preset-catalog.ts";
import type { TextToImageSettings } from "./settings.ts";

const MAX_PROMPT_CHARACTERS = 4000;
const MAX_GUIDANCE_SCALE = 100;
const MAX_TEMPERATURE = 10;
const MAX_SEED = 2n ** 64n - 1n;

/** What is left out takes the preset's default. */
export interface TextToImageWish {
  readonly prompt: string;
  readonly unconditionalPrompt?: string | undefined;
  readonly width?: number | undefined;
  readonly height?: number | undefined;
  readonly count: number;
  readonly steps?: number | undefined;
  readonly guidanceScale?: number | undefined;
  readonly guidanceSchedule: TextToImageSettings["guidanceSchedule"];
  readonly temperature?: number | undefined;
  readonly seed?: string | undefined;
}

/** The named preset, or the only one. */
export function choosePreset(presets: readonly OfferedPreset[], name: string | undefined): OfferedPreset {
  if (presets.length === 0) {
    throw new DomainError("UNAVAILABLE", "No worker has been seen yet. Try again in a moment.", {
      retryable: true,
      retryAfterMs: 2000,
    });
  }
  const found =
    name === undefined && presets.length === 1 ? presets[0] : presets.find((preset) => preset.name === name);
  if (found !== undefined) return found;
  const names = presets.map((preset) => preset.name).join(", ");
  const problem = name === undefined ? "Name a preset." : `There is no preset "${name}".`;
  throw new DomainError("INVALID_INPUT", `${problem} Offered: ${names}.`, { path: ["input", "preset"] });
}

export function resolveTextToImage(wish: TextToImageWish, preset: OfferedPreset): TextToImageSettings {
  const offer = preset.textToImage;
  if (offer === undefined) refuse("", `The preset ${preset.name} does not draw. Choose another one.`);
  const width = wish.width ?? wish.height ?? offer.defaultSize.width;
  const height = wish.height ?? wish.width ?? offer.defaultSize.height;
  checkSize(offer, { width, height });
  checkText("prompt", wish.prompt);
  if (wish.unconditionalPrompt !== undefined) checkText("unconditionalPrompt", wish.unconditionalPrompt);
  const settings: TextToImageSettings = {
    prompt: wish.prompt,
    unconditionalPrompt: wish.unconditionalPrompt ?? offer.defaultUnconditionalPrompt,
    width,
    height,
    count: wish.count,
    steps: wish.steps ?? offer.defaultSteps,
    guidanceScale: wish.guidanceScale ?? offer.defaultGuidanceScale,
    guidanceSchedule: wish.guidanceSchedule,
    temperature: wish.temperature ?? offer.defaultTemperature,
    seed: wish.seed ?? randomBytes(8).readBigUInt64LE().toString(),
  };
  checkRange("count", settings.count, [1, offer.maxCount]);
  checkRange("steps", settings.steps, [1, offer.maxSteps]);
  checkRange("guidanceScale", settings.guidanceScale, [0, MAX_GUIDANCE_SCALE]);
  checkRange("temperature", settings.temperature, [0, MAX_TEMPERATURE]);
  if (!/^\d{1,20}$/.test(settings.seed) || BigInt(settings.seed) > MAX_SEED) {
    refuse("seed", `seed "${settings.seed}" is not a whole number from 0 to ${MAX_SEED}, written as a string.`);
  }
  return { ...settings, seed: BigInt(settings.seed).toString() };
}

function checkSize(offer: TextToImageOffer, { width, height }: { width: number; height: number }): void {
  if (offer.sizes.some((size) => size.width === width && size.height === height)) return;
  const allowed = offer.sizes.map((size) => `${size.width}x${size.height}`).join(", ");
  refuse("width", `${width}x${height} pixels are not offered by this preset. Allowed: ${allowed}.`);
}

function checkText(field: string, text: string): void {
  if (text.trim() === "") refuse(field, `${field} is empty. Say what to draw.`);
  if (!isStorable(text)) refuse(field, `${field} contains a NUL or half a character. Send valid Unicode text.`);
  if (text.length > MAX_PROMPT_CHARACTERS) {
    refuse(field, `${field} has ${text.length} characters; at most ${MAX_PROMPT_CHARACTERS} are read. Shorten it.`);
  }
}

/** PostgreSQL stores no NUL and no lone surrogate, which is half a character. */
export const isStorable = (text: string): boolean => !/\0|\p{Surrogate}/u.test(text);

function checkRange(field: string, value: number, [min, max]: readonly [number, number]): void {
  if (!(value >= min && value <= max)) refuse(field, `${field} is ${value}; this preset allows ${min} to ${max}.`);
}

function refuse(field: string, message: string): never {
  throw new DomainError("INVALID_INPUT", message, {
    path: ["input", "task", "textToImage", field].filter((part) => part !== ""),
  });
}
