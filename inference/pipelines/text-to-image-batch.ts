/**
 * Several prompts with the same settings, drawn together: they share every graph run, and a picture does not depend on
 * its company beyond the order of floating-point sums.
 */
import { type RgbImage, rgbImageOf } from "../image/rgb-image.ts";
import { joinedRandomness, seededRandomness } from "../sampling/randomness.ts";
import { checkLengths, checkSettings, type DrawingSettings, requireText, type Unipic } from "./drawing.ts";
import { initialState, type MarState, sampleTokens } from "./mar-sampler.ts";
import { type Prefix, prefill } from "./prefix.ts";
import { decodePixels } from "./vae-decode.ts";

export interface BatchPrompt {
  /** As the model reads it, behind the prefix of drawings. */
  readonly prompt: string;
  /** Unsigned, 64 bits; picture i of the prompt uses the noise stream (seed, i). */
  readonly seed: bigint;
}

export interface BatchOptions {
  /** What guidance leads away from. */
  readonly unconditionalPrompt: string;
  readonly onStep?: (stepsDone: number, totalSteps: number) => void;
  readonly signal: AbortSignal;
}

/** `settings.count` pictures of each prompt, in their order. */
export async function drawBatch(
  unipic: Unipic,
  prompts: readonly BatchPrompt[],
  settings: Omit<DrawingSettings, "seed">,
  { unconditionalPrompt, onStep, signal }: BatchOptions,
): Promise<readonly (readonly RgbImage[])[]> {
  const { model, tokenizer } = unipic;
  const { template, textToImagePrefix } = model.manifest.prompt;
  const grid = checkSettings(unipic, settings);
  requireText(unconditionalPrompt, "unconditional prompt", "Say what guidance leads away from.");
  const unconditional = tokenizer.encode(template, unconditionalPrompt);
  const ids = prompts.map(({ prompt }) => {
    requireText(prompt, "prompt", "Say what to draw.");
    const conditional = tokenizer.encode(template, textToImagePrefix + prompt);
    checkLengths(unipic, { conditional, unconditional }, grid);
    return conditional;
  });
  const conditional: Prefix[] = [];
  for (const each of ids) conditional.push(...repeat(await prefill(model, each), settings.count));
  const away = settings.guidanceScale === 1 ? [] : repeat(await prefill(model, unconditional), conditional.length);
  const parts = prompts.flatMap(({ seed }) => {
    const randomness = seededRandomness(seed);
    return Array.from({ length: settings.count }, (_, image) => ({ randomness, image }));
  });
  const request = { ...settings, grid, conditional, unconditional: away, randomness: joinedRandomness(parts) };
  let state: MarState = initialState(model, request);
  for await (const progress of sampleTokens(model, request, { from: state, signal })) {
    state = progress;
    onStep?.(progress.stepsDone, progress.totalSteps);
  }
  const images: RgbImage[] = [];
  for (const tokens of state.tokens) {
    signal.throwIfAborted();
    images.push(rgbImageOf(await decodePixels(model, tokens, grid), settings));
  }
  return prompts.map((_, index) => images.slice(index * settings.count, (index + 1) * settings.count));
}

const repeat = (prefix: Prefix, times: number): Prefix[] => Array<Prefix>(times).fill(prefix);
