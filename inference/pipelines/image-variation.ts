/**
 * A picture to others like it: tokens scattered over the picture stay, and the model draws the rest around them, as if a
 * drawing of this picture went on from its middle. No script of the original does this; the masked autoregressive model
 * can, because it draws in any order.
 */
import { cropToAspect, resizeBicubic } from "../image/resize.ts";
import type { RgbImage } from "../image/rgb-image.ts";
import {
  checkLengths,
  checkSettings,
  type DrawingContext,
  type DrawingEvent,
  type DrawingOptions,
  type DrawingPlan,
  type DrawingSettings,
  draw,
  type PromptIds,
  requireText,
  type Unipic,
} from "./drawing.ts";
import { InvalidRequestError } from "./invalid-request.ts";
import { tokenCountOf } from "./mar-sampler.ts";
import { encodePixels } from "./source-picture.ts";
import { asStage } from "./stages.ts";

export interface ImageVariationRequest extends DrawingSettings {
  /** Cropped around its centre and resized to the size of the request. */
  readonly source: RgbImage;
  /** Share of the tokens that are drawn anew: above 0, at most 1. */
  readonly strength: number;
  /** What the pictures show; what fits to the tokens that stay unless given, and then there is no guidance. */
  readonly prompt?: string | undefined;
  /** What guidance leads away from. */
  readonly unconditionalPrompt: string;
}

export async function* imageVariation(
  unipic: Unipic,
  request: ImageVariationRequest,
  options: DrawingOptions,
): AsyncGenerator<DrawingEvent> {
  const { model, prefixes } = unipic;
  const { plan, prompts } = prepare(unipic, request);
  const guidanceScale = request.prompt === undefined ? 1 : request.guidanceScale;
  const { onStage } = options;
  const read = async (): Promise<DrawingContext> => ({
    ...(await asStage(onStage, "prefill", async () => ({
      conditional: await prefixes.read(prompts.conditional),
      unconditional: guidanceScale === 1 ? undefined : await prefixes.read(prompts.unconditional),
    }))),
    tokens: await asStage(onStage, "encode source picture", () =>
      encodePixels(model, resizeBicubic(cropToAspect(request.source, request), request)),
    ),
  });
  yield* draw(model, { ...request, guidanceScale }, { plan, read, ...options });
}

/** What follows from a request before anything runs; throws an InvalidRequestError unless the model can draw it. */
function prepare(
  unipic: Unipic,
  request: ImageVariationRequest,
): { readonly plan: DrawingPlan; readonly prompts: PromptIds } {
  const { prompt, unconditionalPrompt, strength } = request;
  const { model, tokenizer } = unipic;
  if (prompt !== undefined) requireText(prompt, "prompt", "Say what to draw, or leave it out.");
  requireText(unconditionalPrompt, "unconditional prompt", "Say what guidance leads away from.");
  if (!(strength > 0 && strength <= 1)) {
    throw new InvalidRequestError(`strength is ${strength}; it must be above 0 and at most 1.`);
  }
  const grid = checkSettings(unipic, request);
  const { template, textToImagePrefix } = model.manifest.prompt;
  const unconditional = tokenizer.encode(template, unconditionalPrompt);
  const conditional = prompt === undefined ? unconditional : tokenizer.encode(template, textToImagePrefix + prompt);
  checkLengths(unipic, { conditional, unconditional }, grid);
  const tokens = tokenCountOf(grid);
  return {
    plan: { grid, kept: { count: tokens - Math.max(1, Math.round(strength * tokens)) } },
    prompts: { conditional, unconditional },
  };
}
