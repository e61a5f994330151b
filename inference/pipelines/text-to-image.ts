/**
 * A prompt to pictures.
 *
 *     for await (const event of textToImage(unipic, request, { signal })) {
 *       if (event.kind === "image") await writeImage(event.image, "picture.png");
 *     }
 */
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
import { asStage } from "./stages.ts";

export interface TextToImageRequest extends DrawingSettings {
  readonly prompt: string;
  /** What guidance leads away from. */
  readonly unconditionalPrompt: string;
}

export async function* textToImage(
  unipic: Unipic,
  request: TextToImageRequest,
  options: DrawingOptions,
): AsyncGenerator<DrawingEvent> {
  const { model, prefixes } = unipic;
  const { grid, prompts } = prepare(unipic, request);
  const read = (): Promise<DrawingContext> =>
    asStage(options.onStage, "prefill", async () => ({
      conditional: await prefixes.read(prompts.conditional),
      unconditional: request.guidanceScale === 1 ? undefined : await prefixes.read(prompts.unconditional),
    }));
  yield* draw(model, request, { plan: { grid }, read, ...options });
}

/** What follows from a request before anything runs; throws an InvalidRequestError unless the model can draw it. */
function prepare(unipic: Unipic, request: TextToImageRequest): { readonly grid: Grid; readonly prompts: PromptIds } {
  const { model, tokenizer } = unipic;
  requireText(request.prompt, "prompt", "Say what to draw.");
  requireText(request.unconditionalPrompt, "unconditional prompt", "Say what guidance leads away from.");
  const grid = checkSettings(unipic, request);
  const { template, textToImagePrefix } = model.manifest.prompt;
  const prompts = {
    conditional: tokenizer.encode(template, textToImagePrefix + request.prompt),
    unconditional: tokenizer.encode(template, request.unconditionalPrompt),
  };
  checkLengths(unipic, prompts, grid);
  return { grid, prompts };
}
