/** Conditions to latents: the reverse diffusion of the tokens that one MAR step predicts, of one picture or several. */
import type { LoadedModel } from "../runtime/loaded-model.ts";
import { float32, type Tensor, valuesOf } from "../runtime/tensor.ts";
import { type DiffusionSchedule, diffusionSchedule } from "../sampling/diffusion-schedule.ts";

/**
 * Rows times reverse steps in one call of the graph, which loops by itself; between calls a generation can be cancelled.
 * The graph multiplies modulations of so many rows at once: enough for a processor's full speed, and 60 MB at most for
 * the real model, as long as one step has no more rows by itself.
 */
const ROWS_PER_CALL = 128;

/** Standard normal numbers into `out` [T, C]: draw 0 is the initial state, 1 + j the noise of reverse step j. */
export type FillNoise = (out: Float32Array, draw: number) => void;

/** Tokens that belong together: those of one picture. */
export interface DiffusionPart {
  readonly guidanceScale: number;
  readonly temperature: number;
  readonly fillNoise: FillNoise;
}

export interface DiffusionRequest {
  /** [branches * parts * T, D]: conditional rows first. */
  readonly conditions: Tensor;
  /** T, the tokens to sample of each part. */
  readonly tokensPerPart: number;
  readonly parts: readonly DiffusionPart[];
}

export class DiffusionSampler {
  private constructor(
    private readonly model: LoadedModel,
    private readonly schedule: DiffusionSchedule,
    /** [S, W] in sampling order */
    private readonly timeEmbeddings: Float32Array,
  ) {}

  /**
   * @param steps the original's notation: "100", "10,5,20" or "ddim50"
   * @param share of these steps to take, up to 1
   */
  static async create(model: LoadedModel, steps: string, share?: number): Promise<DiffusionSampler> {
    const schedule = diffusionSchedule(steps, share);
    const times = Float32Array.from(schedule.times).reverse();
    const { embeddings } = await model.run("diffusion-time", { times: float32(times, [times.length]) }, ["embeddings"]);
    return new DiffusionSampler(model, schedule, valuesOf(embeddings));
  }

  /**
   * Latents of the tokens: [parts * T, C].
   *
   * @param beforeRun called before every call of the graph; what it throws ends the sampling
   */
  async sample(request: DiffusionRequest, beforeRun: () => void): Promise<Float32Array> {
    const { latentChannels: channels, diffusionWidth } = this.model.manifest.dimensions;
    const { parts, tokensPerPart } = request;
    const steps = this.schedule.times.length;
    const rows = parts.length * tokensPerPart;
    const guidanceScales = new Float32Array(rows);
    for (const [index, { guidanceScale }] of parts.entries())
      guidanceScales.fill(guidanceScale, index * tokensPerPart, (index + 1) * tokensPerPart);
    beforeRun();
    let state = new Float32Array(rows * channels);
    eachPart(request, state, (part, own) => part.fillNoise(own, 0));
    const { condition } = await this.model.run("diffusion-condition", { z: request.conditions }, ["condition"]);
    const [conditionRows = 1] = condition.dims;
    const stepsPerCall = Math.max(1, Math.floor(ROWS_PER_CALL / conditionRows));
    for (let first = 0; first < steps; first += stepsPerCall) {
      beforeRun();
      const count = Math.min(stepsPerCall, steps - first);
      const { x_out } = await this.model.run(
        "diffusion-head",
        {
          x: float32(state, [rows, channels]),
          condition,
          time: float32(this.timeEmbeddings.subarray(first * diffusionWidth, (first + count) * diffusionWidth), [
            count,
            diffusionWidth,
          ]),
          coefficients: float32(this.coefficients(first, count), [count, 6]),
          noise: float32(this.scaledNoise(request, first, count), [count, rows, channels]),
          guidance_scale: float32(guidanceScales, [rows, 1]),
        },
        ["x_out"],
      );
      state = new Float32Array(valuesOf(x_out));
    }
    return state;
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

  /** Noise times temperature; none at the last step. [count, parts * T, C] */
  private scaledNoise(request: DiffusionRequest, first: number, count: number): Float32Array {
    const size = request.parts.length * request.tokensPerPart * this.model.manifest.dimensions.latentChannels;
    const noise = new Float32Array(count * size);
    for (let j = 0; j < count; j++) {
      if (first + j === this.schedule.times.length - 1) continue;
      eachPart(request, noise.subarray(j * size, (j + 1) * size), ({ fillNoise, temperature }, own) => {
        fillNoise(own, 1 + first + j);
        if (temperature !== 1) for (let i = 0; i < own.length; i++) own[i] = (own[i] ?? 0) * temperature;
      });
    }
    return noise;
  }
}

/** Calls `act` with every part and its rows of `values` [parts * T, C]. */
function eachPart(
  { parts }: DiffusionRequest,
  values: Float32Array,
  act: (part: DiffusionPart, own: Float32Array) => void,
): void {
  const span = values.length / parts.length;
  for (const [index, part] of parts.entries()) act(part, values.subarray(index * span, (index + 1) * span));
}
