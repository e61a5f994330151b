/** The drawing that a model makes unless told otherwise: one picture, everything at the model's defaults. */
import type { Manifest } from "../../inference/manifest.ts";
import type { TextToImageRequest } from "../../inference/pipelines/text-to-image.ts";

export function defaultDrawing(
  { defaults, prompt: prompts }: Manifest,
  { prompt, seed }: Pick<TextToImageRequest, "prompt" | "seed">,
): TextToImageRequest {
  return {
    prompt,
    unconditionalPrompt: prompts.textToImageUnconditional,
    width: defaults.size,
    height: defaults.size,
    count: 1,
    steps: defaults.steps,
    diffusionSteps: defaults.diffusionSteps,
    guidanceScale: defaults.guidanceScale,
    guidanceSchedule: "constant",
    temperature: defaults.temperature,
    speed: "exact",
    seed,
  };
}
