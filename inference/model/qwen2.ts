/**
 * The Qwen2 language model as two graphs: its body (prefill, image steps and token-by-token decoding alike), which works
 * on embeddings, and its head, which only text needs. Looking up tokens is not its business. Parameter keys are the
 * checkpoint's `llm.*`.
 * Source: transformers 4.45 `models/qwen2/modeling_qwen2.py`.
 */
import type { GraphBuilder, Value } from "../graph/graph-builder.ts";
import { roundToBfloat16 } from "../graph/number-formats.ts";
import {
  add,
  concat,
  dimension,
  joinedLinear,
  matMul,
  multiply,
  reshape,
  reshapeTo,
  rmsNorm,
  silu,
  softmax,
  splitLast,
  subtract,
  transpose,
  unsqueeze,
} from "../graph/ops.ts";
import type { LlmConfig } from "./config.ts";

const LOWEST_FLOAT = -3.4028234663852886e38;

interface Rotary {
  /** cos and sin of every position up to the last one: [P + s, headWidth / 2] */
  readonly cos: Value;
  readonly sin: Value;
  /** Position of each new token: [rows, s] int64 */
  readonly positions: Value;
}

/**
 * embeds: [rows, s, H] float32, the new tokens; past_lengths: [rows] int64, how many of the P past places are valid
 * (the rest is padding on the right); past.{i}.key, past.{i}.value: [rows, KV, P, headWidth], keys after rotation
 * -> hidden: [rows, s, H] after the last norm; present.{i}.key, present.{i}.value: [rows, KV, P + s, headWidth]
 *
 * New token j of a row has position past_lengths[row] + j and sees the valid past and the new tokens up to itself.
 */
export function buildQwen2(g: GraphBuilder, config: LlmConfig): void {
  const headWidth = config.hidden_size / config.num_attention_heads;
  const embeds = g.input("embeds", "float32", ["rows", "new", config.hidden_size]);
  const pastLengths = g.input("past_lengths", "int64", ["rows"]);
  const cacheDims = ["rows", config.num_key_value_heads, "past", headWidth];
  const past = Array.from({ length: config.num_hidden_layers }, (_, i) => ({
    key: g.input(`past.${i}.key`, "float32", cacheDims),
    value: g.input(`past.${i}.value`, "float32", cacheDims),
  }));
  const newCount = dimension(g, embeds, 1);
  const pastCount = past[0] === undefined ? g.int(0) : dimension(g, past[0].key, 2);
  const rotary = rotaryTables(g, config, { pastLengths, pastCount, newCount });
  const bias = attentionBias(g, { pastLengths, pastCount, newCount });

  let x = embeds;
  for (const [i, cache] of past.entries()) {
    const layer = g.scope(`llm.model.layers.${i}`, () => decoderLayer(g, x, config, { cache, rotary, bias }));
    x = layer.x;
    const dims = ["rows", config.num_key_value_heads, "past+new", headWidth];
    g.output(`present.${i}.key`, layer.key, { type: "float32", dims });
    g.output(`present.${i}.value`, layer.value, { type: "float32", dims });
  }
  const hidden = g.scope("llm.model.norm", () =>
    rmsNorm(g, x, { width: config.hidden_size, eps: config.rms_norm_eps }),
  );
  g.output("hidden", hidden, { type: "float32", dims: ["rows", "new", config.hidden_size] });
}

/**
 * hidden: [rows, H] float32, after the last norm -> logits: [rows, vocabulary]
 *
 * The weight is the checkpoint's own, or the embeddings' where they are tied, as in Qwen2.5-1.5B.
 */
export function buildQwen2Head(g: GraphBuilder, config: LlmConfig): void {
  const hidden = g.input("hidden", "float32", ["rows", config.hidden_size]);
  const logits = g.scope("llm", () => {
    const key = g.hasParameter("lm_head.weight") ? "lm_head.weight" : "model.embed_tokens.weight";
    return g.op("Gemm", [hidden, g.parameter(key, [config.vocab_size, config.hidden_size])], { transB: 1 });
  });
  g.output("logits", logits, { type: "float32", dims: ["rows", config.vocab_size] });
}

interface LayerContext {
  readonly cache: { readonly key: Value; readonly value: Value };
  readonly rotary: Rotary;
  /** Added to the scores: [rows, 1, s, P + s] */
  readonly bias: Value;
}

function decoderLayer(
  g: GraphBuilder,
  x: Value,
  config: LlmConfig,
  context: LayerContext,
): { x: Value; key: Value; value: Value } {
  const { hidden_size: width, intermediate_size: mlpWidth, rms_norm_eps: eps } = config;
  const normed = g.scope("input_layernorm", () => rmsNorm(g, x, { width, eps }));
  const { output, key, value } = g.scope("self_attn", () => attention(g, normed, config, context));
  const attended = add(g, x, output);
  const hidden = g.scope("post_attention_layernorm", () => rmsNorm(g, attended, { width, eps }));
  const mlp = g.scope("mlp", () => {
    const joined = joinedLinear(g, hidden, {
      inputs: width,
      parts: { gate_proj: mlpWidth, up_proj: mlpWidth },
      bias: false,
    });
    const [gate, up] = splitLast(g, joined, [mlpWidth, mlpWidth]) as [Value, Value];
    return joinedLinear(g, multiply(g, silu(g, gate), up), {
      inputs: mlpWidth,
      parts: { down_proj: width },
      bias: false,
      takesLargeInput: true,
    });
  });
  return { x: add(g, attended, mlp), key, value };
}

/**
 * Grouped-query attention: consecutive query heads share one key/value head, so the queries of a group stand as extra
 * rows of one product and no key is repeated.
 */
function attention(
  g: GraphBuilder,
  x: Value,
  config: LlmConfig,
  { cache, rotary, bias }: LayerContext,
): { output: Value; key: Value; value: Value } {
  const { hidden_size: width, num_attention_heads: heads, num_key_value_heads: keyHeads } = config;
  const headWidth = width / heads;
  const keyWidth = keyHeads * headWidth;
  const joined = joinedLinear(g, x, { inputs: width, parts: { q_proj: width, k_proj: keyWidth, v_proj: keyWidth } });
  const [q, k, v] = splitLast(g, joined, [width, keyWidth, keyWidth]) as [Value, Value, Value];
  const toHeads = (t: Value, count: number): Value =>
    transpose(g, reshape(g, t, [0, 0, count, headWidth]), [0, 2, 1, 3]);
  const rotate = (t: Value): Value =>
    g.op(
      "RotaryEmbedding",
      [t, rotary.positions, rotary.cos, rotary.sin],
      { interleaved: 0 },
      { domain: "com.microsoft" },
    );

  const key = concat(g, [cache.key, rotate(toHeads(k, keyHeads))], 2); // (rows, KV, P + s, headWidth)
  const value = concat(g, [cache.value, toHeads(v, keyHeads)], 2);
  const queries = multiply(g, rotate(toHeads(q, heads)), g.float(headWidth ** -0.5)); // (rows, heads, s, headWidth)
  const grouped = reshape(g, queries, [0, keyHeads, -1, headWidth]); // (rows, KV, group * s, headWidth)
  const scores = matMul(g, grouped, transpose(g, key, [0, 1, 3, 2])); // (rows, KV, group * s, P + s)
  const perHead = concat(
    g,
    [g.op("Shape", [queries], { start: 0, end: 3 }), g.op("Shape", [key], { start: 2, end: 3 })],
    0,
  );
  const weights = softmax(g, add(g, reshapeTo(g, scores, perHead), bias)); // (rows, heads, s, P + s)
  const mixed = matMul(g, reshapeTo(g, weights, g.op("Shape", [scores])), value); // (rows, KV, group * s, headWidth)
  const joinedHeads = reshape(g, transpose(g, reshapeTo(g, mixed, g.op("Shape", [queries])), [0, 2, 1, 3]), [
    0,
    0,
    width,
  ]);
  return { output: joinedLinear(g, joinedHeads, { inputs: width, parts: { o_proj: width }, bias: false }), key, value };
}

interface Lengths {
  readonly pastLengths: Value;
  readonly pastCount: Value;
  readonly newCount: Value;
}

/** Angles are fp32 products of fp32 positions and frequencies, as in the original. */
function rotaryTables(g: GraphBuilder, config: LlmConfig, { pastLengths, pastCount, newCount }: Lengths): Rotary {
  const frequencies = rotaryFrequencies(config);
  const range = (end: Value): Value => g.op("Range", [g.int(0), end, g.int(1)]);
  const everyPosition = g.op("Cast", [range(add(g, pastCount, newCount))], { to: 1 });
  const frequencyRow = g.derivedParameter({
    name: "rotary_frequencies",
    shape: [1, frequencies.length],
    derive: () => frequencies,
  });
  const angles = multiply(g, unsqueeze(g, everyPosition, [1]), frequencyRow); // (P + s, headWidth / 2)
  return {
    cos: g.op("Cos", [angles]),
    sin: g.op("Sin", [angles]),
    positions: add(g, unsqueeze(g, pastLengths, [1]), unsqueeze(g, range(newCount), [0])),
  };
}

/** 1 / theta^(2j / headWidth), j = 0 .. headWidth / 2 - 1, in fp32, rounded to bf16 where the configuration says so. */
function rotaryFrequencies(config: LlmConfig): Float32Array {
  const headWidth = config.hidden_size / config.num_attention_heads;
  const frequencies = Float32Array.from({ length: headWidth / 2 }, (_, j) => {
    const power = Math.fround(config.rope_theta ** Math.fround((2 * j) / headWidth));
    return Math.fround(1 / power);
  });
  return config.rope_inv_freq_bf16 ? roundToBfloat16(frequencies) : frequencies;
}

/** 0 where a new token may look, the lowest float where not: [rows, 1, s, P + s]. */
function attentionBias(g: GraphBuilder, { pastLengths, pastCount, newCount }: Lengths): Value {
  const range = (end: Value): Value => g.op("Range", [g.int(0), end, g.int(1)]);
  const places = range(add(g, pastCount, newCount)); // (P + s)
  const newIndex = unsqueeze(g, range(newCount), [1]); // (s, 1)
  const isValidPast = unsqueeze(g, g.op("Less", [places, unsqueeze(g, pastLengths, [1])]), [1, 2]); // (rows, 1, 1, P + s)
  const isNew = g.op("GreaterOrEqual", [places, pastCount]);
  const isNotLater = g.op("LessOrEqual", [subtract(g, places, pastCount), newIndex]); // (s, P + s)
  const isVisible = g.op("Or", [isValidPast, g.op("And", [isNew, isNotLater])]);
  return g.op("Where", [isVisible, g.float(0), g.float(LOWEST_FLOAT)]);
}
