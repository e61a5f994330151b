/**
 * The per-token denoiser and its reverse diffusion as graphs. Parameter keys are the checkpoint's `mar.diffloss.net.*`.
 * Source: src/models/mar/diffloss.py and src/models/mar/diffusion/gaussian_diffusion.py of SkyworkAI/UniPic, UniPic-1.
 */
import type { GraphBuilder, Value } from "../graph/graph-builder.ts";
import {
  add,
  concat,
  divide,
  gather,
  joinedLinear,
  layerNorm,
  linear,
  multiply,
  silu,
  slice,
  splitLast,
  subtract,
  unsqueeze,
} from "../graph/ops.ts";
import type { MarConfig } from "./config.ts";

const FREQUENCY_WIDTH = 256;
const MAX_PERIOD = 10_000;
const LAYER_NORM_EPS = 1e-6;

/**
 * Embeddings of diffusion times: constants of the checkpoint, computed once for a schedule.
 *
 * times: [k] float32, the original step numbers 0..999 -> embeddings: [k, W]
 */
export function buildDiffusionTime(g: GraphBuilder, { diffloss_w: width }: MarConfig): void {
  const times = g.input("times", "float32", ["steps"]);
  const embeddings = g.scope("mar.diffloss.net.time_embed.mlp", () => {
    const frequencies = timeFrequencies();
    const row = g.derivedParameter({ name: "frequencies", shape: [1, frequencies.length], derive: () => frequencies });
    const angles = multiply(g, unsqueeze(g, times, [1]), row);
    const waves = concat(g, [g.op("Cos", [angles]), g.op("Sin", [angles])], 1);
    return linear(g, "2", silu(g, linear(g, "0", waves, [FREQUENCY_WIDTH, width])), [width, width]);
  });
  g.output("embeddings", embeddings, { type: "float32", dims: ["steps", width] });
}

/** exp(-ln(10000) * i / 128) with the fp32 roundings of the original. */
function timeFrequencies(): Float32Array {
  const half = FREQUENCY_WIDTH / 2;
  return Float32Array.from({ length: half }, (_, i) =>
    Math.exp(Math.fround(Math.fround(-Math.log(MAX_PERIOD)) * i) / half),
  );
}

/**
 * k reverse steps of the diffusion of R tokens, with guidance.
 *
 * x: [R, C] float32, the state; z: [branches * R, D], conditions, the conditional ones first, then (with guidance) the
 * unconditional ones; time: [k, W], embeddings of the times in sampling order; coefficients: [k, 6], columns
 * sqrt(1/acp), sqrt(1/acp - 1), coef1, coef2, log beta, log posterior variance; noise: [k, R, C], already multiplied by
 * the temperature and zero at the last step of the schedule; guidance_scale: [R, 1]
 * -> x_out: [R, C]
 */
export function buildDiffusionHead(
  g: GraphBuilder,
  { diffloss_w: width, diffloss_d: depth, vae_embed_dim, decoder_embed_dim }: MarConfig,
): void {
  const state = g.input("x", "float32", ["tokens", vae_embed_dim]);
  const z = g.input("z", "float32", ["branches*tokens", decoder_embed_dim]);
  const time = g.input("time", "float32", ["steps", width]);
  const coefficients = g.input("coefficients", "float32", ["steps", 6]);
  const noise = g.input("noise", "float32", ["steps", "tokens", vae_embed_dim]);
  const guidanceScale = g.input("guidance_scale", "float32", ["tokens", 1]);

  const net: DenoiserShape = { width, depth, channels: vae_embed_dim };
  const condition = g.scope("mar.diffloss.net", () => linear(g, "cond_embed", z, [decoder_embed_dim, width]));
  const tokens = g.op("Shape", [state], { start: 0, end: 1 });
  const branches = divide(g, g.op("Shape", [z], { start: 0, end: 1 }), tokens);

  const body = g.body("reverse_step");
  const step = body.input("step", "int64", []);
  const keepGoing = body.input("keep_going", "bool", []);
  const x = body.input("x_in", "float32", ["tokens", vae_embed_dim]);
  const repeats = concat(body, [branches, body.int([1])], 0);
  const output = body.scope("mar.diffloss.net", () =>
    denoiser(body, body.op("Tile", [x, repeats]), silu(body, add(body, gather(body, time, step), condition)), net),
  );
  const next = reverseStep(body, {
    x,
    output,
    tokens,
    guidanceScale,
    coefficients: splitLast(body, gather(body, coefficients, step), [1, 1, 1, 1, 1, 1]),
    noise: gather(body, noise, step),
    channels: vae_embed_dim,
  });
  body.output("keep_going_out", keepGoing, { type: "bool", dims: [] });
  body.output("x_next", next, { type: "float32", dims: ["tokens", vae_embed_dim] });

  const steps = g.op("Squeeze", [g.op("Shape", [time], { start: 0, end: 1 })]);
  const result = g.op("Loop", [steps, g.bool(true), state], { body: body.finish() });
  g.output("x_out", result, { type: "float32", dims: ["tokens", vae_embed_dim] });
}

interface DenoiserShape {
  readonly width: number;
  readonly depth: number;
  readonly channels: number;
}

/**
 * x: [rows, C], modulation: [rows, W] = silu(time + condition) -> [rows, 2C]: noise estimate, variance interpolation.
 * The modulations of all blocks are one matrix product, since all of them see the same input.
 */
function denoiser(g: GraphBuilder, x: Value, modulation: Value, { width, depth, channels }: DenoiserShape): Value {
  const parts = Object.fromEntries([
    ...Array.from({ length: depth }, (_, i) => [`res_blocks.${i}.adaLN_modulation.1`, 3 * width] as const),
    ["final_layer.adaLN_modulation.1", 2 * width] as const,
  ]);
  // Chunks are shift, scale, gate; "1 + scale" is part of the bias.
  const onePlusScale = new Float32Array((3 * depth + 2) * width);
  for (let i = 0; i <= depth; i++) onePlusScale.fill(1, (3 * i + 1) * width, (3 * i + 2) * width);
  const joined = joinedLinear(g, modulation, { inputs: width, parts, addToBias: onePlusScale });
  const chunks = splitLast(g, joined, new Array<number>(3 * depth + 2).fill(width));
  const chunk = (index: number): Value => {
    const value = chunks[index];
    if (value === undefined) throw new RangeError(`modulation chunk ${index}`);
    return value;
  };

  let h = linear(g, "input_proj", x, [channels, width]);
  for (let i = 0; i < depth; i++) {
    h = g.scope(`res_blocks.${i}`, () => {
      const normed = g.scope("in_ln", () => layerNorm(g, h, { width, eps: LAYER_NORM_EPS }));
      const modulated = add(g, multiply(g, normed, chunk(3 * i + 1)), chunk(3 * i));
      const mlp = linear(g, "mlp.2", silu(g, linear(g, "mlp.0", modulated, [width, width])), [width, width]);
      return add(g, h, multiply(g, chunk(3 * i + 2), mlp));
    });
  }
  return g.scope("final_layer", () => {
    const ones = g.derivedParameter({ name: "ones", shape: [width], derive: () => new Float32Array(width).fill(1) });
    const normed = g.op("LayerNormalization", [h, ones], { axis: -1, epsilon: { float: LAYER_NORM_EPS } });
    const modulated = add(g, multiply(g, normed, chunk(3 * depth + 1)), chunk(3 * depth));
    return linear(g, "linear", modulated, [width, 2 * channels]);
  });
}

interface ReverseStep {
  readonly x: Value;
  readonly output: Value;
  /** Number of tokens R as [1]. */
  readonly tokens: Value;
  readonly guidanceScale: Value;
  readonly coefficients: readonly Value[];
  readonly noise: Value;
  readonly channels: number;
}

/**
 * One ancestral step with learned-range variance and no clipping. Guidance mixes the noise estimates only; the variance
 * is the conditional branch's. Without guidance the first and the last R rows are the same ones, and the mix is exact.
 */
function reverseStep(
  g: GraphBuilder,
  { x, output, tokens, guidanceScale, coefficients, noise, channels }: ReverseStep,
): Value {
  const conditional = slice(g, output, { axis: 0, end: tokens });
  const last = slice(g, output, { axis: 0, start: g.op("Neg", [tokens]) });
  const [conditionalNoise, variance] = splitLast(g, conditional, [channels, channels]) as [Value, Value];
  const [unconditionalNoise] = splitLast(g, last, [channels, channels]) as [Value, Value];
  const [recip, recipm1, coef1, coef2, logBeta, logPosterior] = coefficients as [
    Value,
    Value,
    Value,
    Value,
    Value,
    Value,
  ];

  const difference = subtract(g, conditionalNoise, unconditionalNoise);
  const estimate = add(g, unconditionalNoise, multiply(g, guidanceScale, difference));
  const fraction = multiply(g, add(g, variance, g.float(1)), g.float(0.5));
  const logVariance = add(
    g,
    multiply(g, fraction, logBeta),
    multiply(g, subtract(g, g.float(1), fraction), logPosterior),
  );
  const start = subtract(g, multiply(g, recip, x), multiply(g, recipm1, estimate));
  const mean = add(g, multiply(g, coef1, start), multiply(g, coef2, x));
  const deviation = g.op("Exp", [multiply(g, logVariance, g.float(0.5))]);
  return add(g, mean, multiply(g, deviation, noise));
}
