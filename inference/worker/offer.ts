/** What a worker tells the platform about itself and the model it serves. */
import { createRequire } from "node:module";
import type { DescribeResponse, Recipe } from "../../proto/gen/inference/v1/inference.ts";
import { describeModel, type ModelOffer } from "../pipelines/pipelines.ts";
import type { ComputeSettings } from "./compute-protocol.ts";
import { WIRE_SPEEDS } from "./task-request.ts";

const runtime = createRequire(import.meta.url)("onnxruntime-node/package.json") as { version: string };

export class Offer {
  readonly model: ModelOffer;

  constructor(
    private readonly settings: ComputeSettings,
    /** `standby`: groups that may wait for those that run to end, 0 or 1. */
    readonly capacity: { readonly slots: number; readonly standby: number },
  ) {
    this.model = describeModel(settings.modelFolder);
  }

  describe(): DescribeResponse {
    const { model } = this;
    const square = (side: number): { width: number; height: number } => ({ width: side, height: side });
    const drawing = {
      sizes: model.sizes.map(square),
      defaultSize: square(model.defaultSize),
      sizeStep: model.sizeStep,
      maxPixels: model.maxPixels,
      maxSteps: model.maxSteps,
      defaultSteps: model.defaultSteps,
      maxCount: model.maxCount,
      speeds: model.speeds.map(({ name, description }) => ({ speed: WIRE_SPEEDS[name], description })),
      defaultGuidanceScale: model.guidanceScale,
      defaultTemperature: model.temperature,
      defaultUnconditionalPrompt: model.textToImageUnconditional,
    };
    const imageEdit = {
      ...drawing,
      defaultGuidanceScale: model.editGuidanceScale,
      defaultUnconditionalPrompt: model.imageEditUnconditional,
    };
    const imageToText = { sizes: [...model.sizes], defaultSize: model.defaultSize, maxTokens: model.maxTokens };
    const tasks = { textToImage: drawing, imageEdit, imageVariation: drawing, imageToText };
    return {
      ...this.capacity,
      presets: [{ name: model.preset, buildDigest: model.digest, ...tasks }],
    };
  }

  recipe({ groupSize }: Pick<Recipe, "groupSize">): Recipe {
    return {
      buildDigest: this.model.digest,
      provider: this.settings.provider,
      runtimeVersion: runtime.version,
      threads: this.settings.threads,
      groupSize,
    };
  }
}
