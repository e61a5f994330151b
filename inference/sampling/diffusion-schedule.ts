/**
 * Coefficients of the reverse diffusion of one token, for a subset of the 1000 base steps. Everything is computed in
 * fp64 and rounded to fp32 when a graph uses it.
 * Source: src/models/mar/diffusion/{gaussian_diffusion,respace}.py of SkyworkAI/UniPic, UniPic-1.
 */

const BASE_STEPS = 1000;
/** UniPic clips betas here; MAR, its ancestor, at 0.999. */
const MAX_BETA = 0.2;
/** As few steps as DiSA (arXiv 2505.20297) ends with; a schedule that has fewer itself keeps them all. */
const MIN_THINNED = 5;

/** Arrays are indexed by respaced step: 0 is the last one to run. */
export interface DiffusionSchedule {
  /** Base step (0..999) of each respaced step: what the denoiser is told. */
  readonly times: readonly number[];
  readonly betas: readonly number[];
  readonly alphasCumprod: readonly number[];
  readonly sqrtRecipAlphasCumprod: readonly number[];
  readonly sqrtRecipm1AlphasCumprod: readonly number[];
  readonly posteriorMeanCoef1: readonly number[];
  readonly posteriorMeanCoef2: readonly number[];
  readonly logBetas: readonly number[];
  /**
   * The log posterior variance, its entry 0 (minus infinity) replaced by entry 1. The original cannot take a single step;
   * there the entry is the log beta: the last step adds no noise, but its deviation must be finite.
   */
  readonly posteriorLogVarianceClipped: readonly number[];
}

/**
 * @param steps the original's notation: "100", "10,5,20" (sections) or "ddim50" (equal strides)
 * @param share of these steps to take, up to 1
 */
export function diffusionSchedule(steps: string, share = 1): DiffusionSchedule {
  const base = cumulativeProducts(baseBetas().map((beta) => 1 - beta));
  const times = thinned(respacedTimes(steps), share);
  const kept = times.map((time) => at(base, time));
  const betas = kept.map((product, k) => 1 - product / (k === 0 ? 1 : at(kept, k - 1)));
  const alphasCumprod = cumulativeProducts(betas.map((beta) => 1 - beta));
  const previous = alphasCumprod.map((_, k) => (k === 0 ? 1 : at(alphasCumprod, k - 1)));
  const variance = betas.map((beta, k) => (beta * (1 - at(previous, k))) / (1 - at(alphasCumprod, k)));
  return {
    times,
    betas,
    alphasCumprod,
    sqrtRecipAlphasCumprod: alphasCumprod.map((product) => Math.sqrt(1 / product)),
    sqrtRecipm1AlphasCumprod: alphasCumprod.map((product) => Math.sqrt(1 / product - 1)),
    posteriorMeanCoef1: betas.map((beta, k) => (beta * Math.sqrt(at(previous, k))) / (1 - at(alphasCumprod, k))),
    posteriorMeanCoef2: betas.map(
      (beta, k) => ((1 - at(previous, k)) * Math.sqrt(1 - beta)) / (1 - at(alphasCumprod, k)),
    ),
    logBetas: betas.map(Math.log),
    posteriorLogVarianceClipped: variance.map((value, k) => Math.log(k > 0 ? value : (variance[1] ?? at(betas, 0)))),
  };
}

function baseBetas(): number[] {
  const alphaBar = (u: number): number => Math.cos((((u + 0.008) / 1.008) * Math.PI) / 2) ** 2;
  return Array.from({ length: BASE_STEPS }, (_, i) =>
    Math.min(1 - alphaBar((i + 1) / BASE_STEPS) / alphaBar(i / BASE_STEPS), MAX_BETA),
  );
}

function respacedTimes(notation: string): number[] {
  const ddim = /^ddim(\d+)$/.exec(notation);
  if (ddim !== null) return ddimTimes(Number(ddim[1]), notation);
  if (!/^\d+(,\d+)*$/.test(notation)) {
    throw new Error(
      `"${notation}" is no number of diffusion steps. Write a number (100), sections (10,5,20) or ddim50.`,
    );
  }
  const sections = notation.split(",").map(Number);
  const size = Math.floor(BASE_STEPS / sections.length);
  const extra = BASE_STEPS % sections.length;
  let start = 0;
  return sections.flatMap((count, index) => {
    const length = size + (index < extra ? 1 : 0);
    if (count < 1 || count > length) {
      throw new Error(`"${notation}" asks for ${count} diffusion steps in a section of ${length}. Use 1 to ${length}.`);
    }
    const stride = count <= 1 ? 1 : (length - 1) / (count - 1);
    const first = start;
    start += length;
    let position = 0;
    return Array.from({ length: count }, () => {
      const time = first + roundHalfEven(position);
      position += stride;
      return time;
    });
  });
}

/** Evenly spaced ones of the times, with the first and the last. */
function thinned(times: readonly number[], share: number): readonly number[] {
  const count = Math.min(times.length, Math.max(MIN_THINNED, Math.round(times.length * share)));
  return Array.from({ length: count }, (_, k) =>
    at(times, Math.round((k * (times.length - 1)) / Math.max(1, count - 1))),
  );
}

/** An integer stride that gives exactly `count` steps. */
function ddimTimes(count: number, notation: string): number[] {
  for (let stride = 1; stride < BASE_STEPS; stride++) {
    if (Math.ceil(BASE_STEPS / stride) === count) return Array.from({ length: count }, (_, k) => k * stride);
  }
  throw new Error(
    `"${notation}": no integer stride gives exactly ${count} of ${BASE_STEPS} steps. Use ddim50 or ddim100, for example.`,
  );
}

function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}

function cumulativeProducts(factors: readonly number[]): number[] {
  let product = 1;
  return factors.map((factor) => {
    product *= factor;
    return product;
  });
}

function at(values: readonly number[], index: number): number {
  const value = values[index];
  if (value === undefined) throw new RangeError(`step ${index} of ${values.length}`);
  return value;
}
