/**
 * The two halves of the masked autoregressive transformer as graphs, with the projections to and from the LLM's width.
 * Parameter keys are the checkpoint's `mar.*`, `proj_in.*`, `proj_out.*`.
 * Source: src/models/mar/mar.py and src/models/skywork_unipic_siglip.py of SkyworkAI/UniPic, UniPic-1; blocks are timm
 * 0.9.12 `Block`.
 *
 * Position tables are inputs: they are resized to the grid of a request at run time (`runtime/position-tables.ts`).
 */
import type { GraphBuilder, Value } from "../graph/graph-builder.ts";
import {
  add,
  concat,
  gather,
  gatherRows,
  gelu,
  joinedLinear,
  layerNorm,
  linear,
  multiHeadAttention,
  partOfLinear,
  reshapeTo,
  silu,
  slice,
  splitLast,
  unsqueeze,
} from "../graph/ops.ts";
import type { UnipicConfig } from "./config.ts";

interface BlockShape {
  readonly width: number;
  readonly heads: number;
  readonly mlpWidth: number;
  readonly eps: number;
}

/**
 * Visible image tokens to features, for the decoder (`x_enc`) and for the LLM (`z_enc`).
 *
 * tokens: [images, v, C] float32, the visible latents in raster order; visible: [images, v] int64, their grid places;
 * position_table: [K + N, E] float32, buffers first
 * -> x_enc: [images, K + v, E], buffers first; z_enc: [images, v + K, H], buffers last
 */
export function buildMarEncoder(g: GraphBuilder, { mar, llm }: UnipicConfig): void {
  const { encoder_embed_dim: width, buffer_size: buffers } = mar;
  const tokens = g.input("tokens", "float32", ["images", "visible", mar.vae_embed_dim]);
  const visible = g.input("visible", "int64", ["images", "visible"]);
  const table = g.input("position_table", "float32", ["places", width]);

  const features = g.scope("mar", () => {
    const grid = add(
      g,
      linear(g, "z_proj", tokens, [mar.vae_embed_dim, width]),
      gather(g, table, add(g, visible, g.int(buffers))),
    );
    const bufferRows = add(
      g,
      g.parameter("fake_latent", [1, width]),
      slice(g, table, { axis: 0, end: g.int(buffers) }),
    ); // (K, E)
    const perImage = concat(g, [g.op("Shape", [tokens], { start: 0, end: 1 }), g.int([buffers, width])], 0);
    const all = concat(g, [g.op("Expand", [bufferRows, perImage]), grid], 1); // (images, K + v, E)
    const shape = blockShape(width, mar.encoder_num_heads, mar);
    let x = g.scope("z_proj_ln", () => layerNorm(g, all, { width, eps: mar.norm_eps }));
    for (let i = 0; i < mar.encoder_depth; i++) x = g.scope(`encoder_blocks.${i}`, () => block(g, x, shape));
    return g.scope("encoder_norm", () => layerNorm(g, x, { width, eps: mar.norm_eps }));
  });
  g.output("x_enc", features, { type: "float32", dims: ["images", "buffers+visible", width] });

  const projected = g.scope("proj_in", () => projection(g, features, [width, llm.hidden_size, llm.hidden_size]));
  const end = g.int(buffers);
  const buffersLast = concat(
    g,
    [slice(g, projected, { axis: 1, start: end }), slice(g, projected, { axis: 1, end })],
    1,
  );
  g.output("z_enc", buffersLast, { type: "float32", dims: ["images", "visible+buffers", llm.hidden_size] });
}

/**
 * The features of a source picture to what stands at the unknown places of a picture that is made from it. The decoder's
 * first layer has a small session of its own here: this runs once for a request, the decoder at every step.
 *
 * x_enc: [images, K + N, E] -> canvas: [images, K + N, D]
 */
export function buildMarCanvas(g: GraphBuilder, { mar }: UnipicConfig): void {
  const { encoder_embed_dim: encoderWidth, decoder_embed_dim: width } = mar;
  const encoded = g.input("x_enc", "float32", ["images", "places", encoderWidth]);
  const canvas = g.scope("mar", () => linear(g, "decoder_embed", encoded, [encoderWidth, width]));
  g.output("canvas", canvas, { type: "float32", dims: ["images", "places", width] });
}

/**
 * The LLM's answer and the encoder's features to conditions of the diffusion head, for the tokens to predict.
 *
 * Rows are the images once per branch: all conditional, then all unconditional.
 * x_enc: [images, K + v, E]; hidden: [rows, v + K, H], buffers last; canvas: [1 or rows, 1 or K + N, D], what stands at
 * unknown places: the mask token, or a source picture's features; canvas_index: [rows, K + N] int64, for each place the
 * row of x_enc that is known there, or -1; predict: [rows, p] int64, grid places; position_table: [K + N, D];
 * diffusion_table: [N, D]
 * -> z: [rows, p, D]
 */
export function buildMarDecoder(g: GraphBuilder, { mar, llm }: UnipicConfig): void {
  const { encoder_embed_dim: encoderWidth, decoder_embed_dim: width, buffer_size: buffers } = mar;
  const encoded = g.input("x_enc", "float32", ["images", "buffers+visible", encoderWidth]);
  const hidden = g.input("hidden", "float32", ["rows", "visible+buffers", llm.hidden_size]);
  const canvas = g.input("canvas", "float32", ["canvas_rows", "canvas_places", width]);
  const canvasIndex = g.input("canvas_index", "int64", ["rows", "places"]);
  const predict = g.input("predict", "int64", ["rows", "predicted"]);
  const positionTable = g.input("position_table", "float32", ["places", width]);
  const diffusionTable = g.input("diffusion_table", "float32", ["grid_places", width]);

  const features = addLlmAnswer(g, encoded, hidden, { mar, llm });
  const z = g.scope("mar", () => {
    const known = linear(g, "decoder_embed", features, [encoderWidth, width]); // (rows, K + v, D)
    const isKnown = g.op("GreaterOrEqual", [canvasIndex, g.int(0)]);
    const atPlaces = gatherRows(g, known, g.op("Max", [canvasIndex, g.int(0)]));
    const filled = g.op("Where", [unsqueeze(g, isKnown, [-1]), atPlaces, canvas]); // (rows, K + N, D)
    const shape = blockShape(width, mar.decoder_num_heads, mar);
    let x = add(g, filled, positionTable);
    for (let i = 0; i < mar.decoder_depth; i++) {
      // Only the predicted rows of the last block are read afterwards.
      const rows = i === mar.decoder_depth - 1 ? add(g, predict, g.int(buffers)) : undefined;
      x = g.scope(`decoder_blocks.${i}`, () => block(g, x, shape, rows));
    }
    const normed = g.scope("decoder_norm", () => layerNorm(g, x, { width, eps: mar.norm_eps }));
    return add(g, normed, gather(g, diffusionTable, predict));
  });
  g.output("z", z, { type: "float32", dims: ["rows", "predicted", width] });
}

/**
 * The encoder's features plus the projected answer of the LLM.
 *
 * encoded: [images, K + v, E], buffers first; hidden: [rows, v + K, H], buffers last -> [rows, K + v, E], buffers first
 */
export function addLlmAnswer(
  g: GraphBuilder,
  encoded: Value,
  hidden: Value,
  { mar, llm }: Pick<UnipicConfig, "mar" | "llm">,
): Value {
  const widths = [llm.hidden_size, llm.hidden_size, mar.encoder_embed_dim] as const;
  const answer = g.scope("proj_out", () => projection(g, hidden, widths));
  const start = g.int(-mar.buffer_size);
  const buffersFirst = concat(g, [slice(g, answer, { axis: 1, start }), slice(g, answer, { axis: 1, end: start })], 1);
  return addPerImage(g, buffersFirst, encoded);
}

/** x: [branches * images, n, width] plus perImage: [images, n, width], repeated for every branch. */
function addPerImage(g: GraphBuilder, x: Value, perImage: Value): Value {
  const branches = concat(g, [g.int([-1]), g.op("Shape", [perImage])], 0);
  return reshapeTo(g, add(g, reshapeTo(g, x, branches), perImage), g.op("Shape", [x]));
}

/** Linear, SiLU, Linear: the parameters `0` and `2` of the scope. */
function projection(g: GraphBuilder, x: Value, [from, between, to]: readonly [number, number, number]): Value {
  return linear(g, "2", silu(g, linear(g, "0", x, [from, between])), [between, to]);
}

const blockShape = (width: number, heads: number, mar: UnipicConfig["mar"]): BlockShape => ({
  width,
  heads,
  mlpWidth: Math.trunc(width * mar.mlp_ratio),
  eps: mar.norm_eps,
});

/**
 * Pre-norm transformer block. x: [B, n, width] -> [B, n, width]; with `rows` [B, p] only those rows are computed and
 * returned, attending to all n.
 */
function block(g: GraphBuilder, x: Value, shape: BlockShape, rows?: Value): Value {
  const { width, mlpWidth, eps } = shape;
  const kept = rows === undefined ? x : gatherRows(g, x, rows);
  const normed = g.scope("norm1", () => layerNorm(g, x, { width, eps }));
  const attended = add(
    g,
    kept,
    g.scope("attn", () => attention(g, normed, shape, rows)),
  );
  const hidden = g.scope("norm2", () => layerNorm(g, attended, { width, eps }));
  return g.scope("mlp", () =>
    add(g, attended, linear(g, "fc2", gelu(g, linear(g, "fc1", hidden, [width, mlpWidth])), [mlpWidth, width])),
  );
}

/** Bidirectional multi-head attention; `qkv` is one layer with its outputs in the order q, k, v. */
function attention(g: GraphBuilder, x: Value, { width, heads }: BlockShape, rows?: Value): Value {
  const qkv = rows === undefined ? joinedQkv(g, x, width) : qkvOfRows(g, x, { width, rows });
  const attended = multiHeadAttention(g, qkv, { heads, format: g.formatOf("qkv") });
  return linear(g, "proj", attended, [width, width]);
}

const joinedQkv = (g: GraphBuilder, x: Value, width: number): readonly Value[] =>
  splitLast(g, joinedLinear(g, x, { inputs: width, parts: { qkv: 3 * width } }), [width, width, width]);

/** Queries of some rows only; keys and values of all. */
function qkvOfRows(g: GraphBuilder, x: Value, { width, rows }: { width: number; rows: Value }): readonly Value[] {
  const part = { inputs: width, total: 3 * width };
  const query = partOfLinear(g, "qkv", gatherRows(g, x, rows), { ...part, from: 0, to: width });
  const keysAndValues = partOfLinear(g, "qkv", x, { ...part, from: width, to: 3 * width });
  return [query, ...splitLast(g, keysAndValues, [width, width])];
}
