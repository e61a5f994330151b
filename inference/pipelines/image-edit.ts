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
  type DrawingContext,
  type DrawingEvent,
  type DrawingOptions,
  type DrawingSettings,
  draw,
  type PromptIds,
  requireText,
  type Unipic,
} from "./drawing.ts";
import { blend, type EditMask, editMask } from "./edit-mask.ts";
import { imagePrompt } from "./image-prompt.ts";
import type { KeptPlaces } from "./mar-sampler.ts";
import { prefillBranches } from "./prefix.ts";
import { canvasOf, encodePixels, encodeTokens } from "./source-picture.ts";
import { asStage } from "./stages.ts";

export interface ImageEditRequest extends DrawingSettings {
  /** Cropped around its centre and resized to the size of the request. */
  readonly source: RgbImage;
  /**
   * White where the picture is to be drawn anew, black where it stays, as large as the source; all of it is drawn anew
   * unless given. Patches that the white touches are drawn; pixels outside of them are those of the source.
   */
  readonly mask?: RgbImage;
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
  const { grid, prompts, mask } = prepare(unipic, request);
  const source = resizeBicubic(cropToAspect(request.source, request), request);
  const read = async (): Promise<DrawingContext> => {
    const { onStage } = options;
    const { tokens, features, canvas } = await asStage(onStage, "encode source picture", async () => {
      const tokens = await encodePixels(model, source);
      const features = await encodeTokens(model, tokens, grid);
      return { tokens, features, canvas: await canvasOf(model, features) };
    });
    const unconditional = request.guidanceScale === 1 ? undefined : prompts.unconditional;
    const branches = await asStage(onStage, "prefill", () =>
      prefillBranches(model, { ...prompts, unconditional }, features.embeddings),
    );
    return { ...branches, canvas, tokens };
  };
  const plan = mask === undefined ? { grid } : { grid, kept: keptOf(mask) };
  for await (const event of draw(model, request, { plan, read, ...options })) {
    yield mask === undefined || event.kind !== "image" ? event : { ...event, image: blend(source, event.image, mask) };
  }
}

function keptOf({ open }: EditMask): KeptPlaces {
  const isKept = open.map((each) => 1 - each);
  return { isKept, count: isKept.filter((each) => each === 1).length };
}

/** What follows from a request before anything runs; throws an InvalidRequestError unless the model can draw it. */
function prepare(
  unipic: Unipic,
  request: ImageEditRequest,
): { readonly grid: Grid; readonly prompts: PromptIds; readonly mask: EditMask | undefined } {
  requireText(request.instruction, "instruction", "Say what to change.");
  requireText(request.unconditionalPrompt, "unconditional prompt", "Say what guidance leads away from.");
  const grid = checkSettings(unipic, request);
  const prompts = {
    conditional: imagePrompt(unipic, request.instruction.trim(), grid),
    unconditional: imagePrompt(unipic, request.unconditionalPrompt, grid),
  };
  checkLengths(unipic, prompts, grid);
  const { source, mask } = request;
  return { grid, prompts, mask: mask === undefined ? undefined : editMask(mask, { source, size: request, grid }) };
}
