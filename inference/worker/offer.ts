/** What a worker tells the platform about itself and the model it serves. */
import { createRequire } from "node:module";
import type { DescribeResponse, Recipe } from "../../proto/gen/inference/v1/inference.ts";
import { describeModel, type ModelOffer } from "../pipelines/pipelines.ts";
import type { ComputeSettings } from "./compute-protocol.ts";

const runtime = createRequire(import.meta.url)("onnxruntime-node/package.json") as { version: string };

export class Offer {
  private readonly model: ModelOffer;

  constructor(
    private readonly settings: ComputeSettings,
    readonly slots: number,
  ) {
    this.model = describeModel(settings.modelFolder);
  }

  get preset(): string {
    return this.model.preset;
  }

  /** Sides of square pictures. */
  get sizes(): readonly number[] {
    return this.model.sizes;
  }

  get maxCount(): number {
    return this.model.maxCount;
  }

  get diffusionSteps(): string {
    return this.model.diffusionSteps;
  }

  describe(): DescribeResponse {
    const { model } = this;
    const square = (side: number): { width: number; height: number } => ({ width: side, height: side });
    const textToImage = {
      sizes: model.sizes.map(square),
      defaultSize: square(model.defaultSize),
      maxSteps: model.maxSteps,
      defaultSteps: model.defaultSteps,
      maxCount: model.maxCount,
      defaultGuidanceScale: model.guidanceScale,
      defaultTemperature: model.temperature,
      defaultUnconditionalPrompt: model.unconditionalPrompt,
    };
    return { slots: this.slots, standby: 0, presets: [{ name: model.preset, buildDigest: model.digest, textToImage }] };
  }

  recipe(): Recipe {
    return {
      buildDigest: this.model.digest,
      provider: "cpu",
      runtimeVersion: runtime.version,
      threads: this.settings.threads,
      groupSize: 1,
    };
  }
}
