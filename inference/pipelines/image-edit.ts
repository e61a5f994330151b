/**
 * A picture and an instruction to changed pictures. All of the picture is drawn anew: the source is in the prompt, and
 * its features stand at the places that are not drawn yet.
 * Source: scripts/image_edit.py of SkyworkAI/UniPic, UniPic-1 (model-spec 7).
 */
import { cropToAspect, resizeBicubic } from "../image/resize.ts";
import type { RgbImage } from "../image/rgb-image.ts";
import type { Grid } from "../runtime/position-tables.ts";
import {
  checkLengths,
  checkSettings,
  type DrawingEvent,
  type DrawingOptions,
  type DrawingSettings,
  draw,
  type PromptIds,
  requireText,
  type Unipic,
} from "./drawing.ts";
import { imagePrompt } from "./image-prompt.ts";
import { prefill } from "./prefix.ts";
import { canvasOf, encodeSource } from "./source-picture.ts";

export interface ImageEditRequest extends DrawingSettings {
  /** Cropped around its centre and resized to the size of the request. */
  readonly source: RgbImage;
  readonly instruction: string;
  /** The instruction that guidance leads away from. */
  readonly unconditionalPrompt: string;
}

export async function* imageEdit(
  unipic: Unipic,
  request: ImageEditRequest,
  options: DrawingOptions,
): AsyncGenerator<DrawingEvent> {
  const { model } = unipic;
  const { grid, prompts } = prepareImageEdit(unipic, request);
  const features = await encodeSource(model, resizeBicubic(cropToAspect(request.source, request), request));
  const read = (ids: readonly number[]) => prefill(model, ids, features.embeddings);
  const conditional = await read(prompts.conditional);
  const unconditional = request.guidanceScale === 1 ? undefined : await read(prompts.unconditional);
  yield* draw(model, request, { grid, conditional, unconditional, canvas: await canvasOf(model, features) }, options);
}

/** What follows from a request before anything runs; throws an InvalidRequestError unless the model can draw it. */
function prepareImageEdit(
  unipic: Unipic,
  request: ImageEditRequest,
): { readonly grid: Grid; readonly prompts: PromptIds } {
  requireText(request.instruction, "instruction", "Say what to change.");
  requireText(request.unconditionalPrompt, "unconditional prompt", "Say what guidance leads away from.");
  const grid = checkSettings(unipic, request);
  const prompts = {
    conditional: imagePrompt(unipic, request.instruction.trim(), grid),
    unconditional: imagePrompt(unipic, request.unconditionalPrompt, grid),
  };
  checkLengths(unipic, prompts, grid);
  return { grid, prompts };
}
