/** Conditions to latents: the reverse diffusion of the tokens that one MAR step predicts. */
import type { LoadedModel } from "../runtime/loaded-model.ts";
import { float32, type Tensor, valuesOf } from "../runtime/tensor.ts";
import { type DiffusionSchedule, diffusionSchedule } from "../sampling/diffusion-schedule.ts";
import { requireFinite } from "./finite.ts";

/** Between calls a generation can be cancelled; within a call the graph loops by itself. */
const STEPS_PER_CALL = 10;

/** Standard normal numbers into `out` [R, C]: draw 0 is the initial state, 1 + j the noise of reverse step j. */
export type FillNoise = (out: Float32Array, draw: number) => void;

export interface DiffusionRequest {
  /** [branches * R, D]: conditional rows first. */
  readonly conditions: Tensor;
  /** R, the tokens to sample. */
  readonly tokenCount: number;
  readonly guidanceScale: number;
  readonly temperature: number;
  readonly fillNoise: FillNoise;
}

export class DiffusionSampler {
  private constructor(
    private readonly model: LoadedModel,
    private readonly schedule: DiffusionSchedule,
    /** [S, W] in sampling order */
    private readonly timeEmbeddings: Float32Array,
  ) {}

  /** @param steps the original's notation: "100", "10,5,20" or "ddim50" */
  static async create(model: LoadedModel, steps: string): Promise<DiffusionSampler> {
    const schedule = diffusionSchedule(steps);
    const times = Float32Array.from(schedule.times).reverse();
    const { embeddings } = await model.run("diffusion-time", { times: float32(times, [times.length]) }, ["embeddings"]);
    return new DiffusionSampler(model, schedule, valuesOf(embeddings));
  }

  /** Latents of the tokens: [R, C]. Throws if they are not finite: the other steps could not mend the picture. */
  async sample(request: DiffusionRequest, signal: AbortSignal): Promise<Float32Array> {
    const { latentChannels: channels, diffusionWidth } = this.model.manifest.dimensions;
    const steps = this.schedule.times.length;
    const size = request.tokenCount * channels;
    let state = new Float32Array(size);
    request.fillNoise(state, 0);
    for (let first = 0; first < steps; first += STEPS_PER_CALL) {
      signal.throwIfAborted();
      const count = Math.min(STEPS_PER_CALL, steps - first);
      const { x_out } = await this.model.run(
        "diffusion-head",
        {
          x: float32(state, [request.tokenCount, channels]),
          z: request.conditions,
          time: float32(this.timeEmbeddings.subarray(first * diffusionWidth, (first + count) * diffusionWidth), [
            count,
            diffusionWidth,
          ]),
          coefficients: float32(this.coefficients(first, count), [count, 6]),
          noise: float32(this.scaledNoise(request, first, count), [count, request.tokenCount, channels]),
          guidance_scale: float32(Float32Array.of(request.guidanceScale), []),
        },
        ["x_out"],
      );
      state = new Float32Array(valuesOf(x_out));
    }
    return requireFinite(state, "latents");
  }

  /** Rows first..first+count in sampling order, which runs from the last respaced step to step 0. */
  private coefficients(first: number, count: number): Float32Array {
    const { schedule } = this;
    const columns = [
      schedule.sqrtRecipAlphasCumprod,
      schedule.sqrtRecipm1AlphasCumprod,
      schedule.posteriorMeanCoef1,
      schedule.posteriorMeanCoef2,
      schedule.logBetas,
      schedule.posteriorLogVarianceClipped,
    ];
    const last = schedule.times.length - 1;
    return Float32Array.from({ length: count * columns.length }, (_, i) => {
      const step = last - first - Math.floor(i / columns.length);
      return columns[i % columns.length]?.[step] ?? Number.NaN;
    });
  }

  /** Noise times temperature; none at the last step. [count, R, C] */
  private scaledNoise(
    { fillNoise, temperature, tokenCount }: DiffusionRequest,
    first: number,
    count: number,
  ): Float32Array {
    const size = tokenCount * this.model.manifest.dimensions.latentChannels;
    const noise = new Float32Array(count * size);
    for (let j = 0; j < count; j++) {
      if (first + j === this.schedule.times.length - 1) continue;
      const row = noise.subarray(j * size, (j + 1) * size);
      fillNoise(row, 1 + first + j);
      if (temperature !== 1) for (let i = 0; i < size; i++) row[i] = (row[i] ?? 0) * temperature;
    }
    return noise;
  }
}
