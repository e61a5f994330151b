/**
 * How near does each stage come to the peak of a matrix product, and what does int8 gain, at the published widths?
 *
 *     node --enable-source-maps dist/bench/stages.js [pairs]
 *
 * One layer of each stage (eight of MAR) with random weights, built by the model's own functions, against the products with its
 * weights alone: same shapes, same process, one thread, in turns. Prints medians of paired ratios of CPU time; writes
 * bench/results/stages.json.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { InferenceSession, type Tensor } from "onnxruntime-node";
import { GraphBuilder, type ParameterSource, type Value } from "../inference/graph/graph-builder.ts";
import { encodeModel, type OnnxGraph } from "../inference/graph/onnx-model.ts";
import { slice } from "../inference/graph/ops.ts";
import { WeightsFile } from "../inference/graph/weights-file.ts";
import type { Dtype, GraphName } from "../inference/manifest.ts";
import { parseUnipicConfig } from "../inference/model/config.ts";
import { formatIn } from "../inference/model/precision.ts";
import { GRAPH_BUILDERS } from "../inference/model/unipic.ts";
import { float32, int64, valuesOf } from "../inference/runtime/tensor.ts";
import { psnr } from "../test/support/psnr.ts";
import { compare, inThisProcess } from "./measuring/interleaved.ts";
import { openMatrixProduct } from "./measuring/matrix-product.ts";

const pairs = Number(process.argv[2] ?? 24);
const ROWS = [64, 256];
const SLICE_MS = 50;
/** Reverse steps in one run of the diffusion head. */
const DIFFUSION_STEPS = 1;

/**
 * Of both halves of MAR: beside a single layer, the first and last products, which stay fp32, would be a fifth of the work;
 * beside the published twenty they are a hundredth.
 */
const MAR_LAYERS = 8;

/** The published model with fewer layers; one buffer token, so that every product has the same rows, plus one. */
const config = parseUnipicConfig(
  {
    mar: { encoder_depth: MAR_LAYERS, decoder_depth: MAR_LAYERS, diffloss_d: 1, buffer_size: 1 },
    llm: { num_hidden_layers: 1 },
  },
  "the published configuration",
);
const { mar, llm } = config;

type Feeds = Record<string, Tensor>;

interface Stage {
  readonly graph: GraphName;
  readonly output: string;
  readonly feeds: (rows: number) => Feeds;
}

const STAGES: readonly Stage[] = [
  {
    graph: "mar-encoder",
    output: "z_enc",
    feeds: (rows) => ({
      tokens: normal([1, rows, mar.vae_embed_dim]),
      visible: range(rows),
      position_table: normal([rows + 1, mar.encoder_embed_dim]),
    }),
  },
  {
    graph: "llm",
    output: "hidden",
    feeds: (rows) => ({
      embeds: normal([1, rows, llm.hidden_size]),
      past_lengths: int64([0], [1]),
      "past.0.key": emptyCache(),
      "past.0.value": emptyCache(),
    }),
  },
  {
    graph: "mar-decoder",
    output: "z",
    feeds: (rows) => ({
      x_enc: normal([1, rows + 1, mar.encoder_embed_dim]),
      hidden: normal([1, rows + 1, llm.hidden_size]),
      canvas: normal([1, 1, mar.decoder_embed_dim]),
      canvas_index: range(rows + 1),
      predict: range(rows),
      position_table: normal([rows + 1, mar.decoder_embed_dim]),
      diffusion_table: normal([rows, mar.decoder_embed_dim]),
    }),
  },
  {
    graph: "diffusion-head",
    output: "x_out",
    feeds: (rows) => ({
      x: normal([rows, mar.vae_embed_dim]),
      condition: normal([rows, mar.diffloss_w]),
      time: normal([DIFFUSION_STEPS, mar.diffloss_w]),
      coefficients: float32(
        Float32Array.from({ length: 6 * DIFFUSION_STEPS }, () => 0.5),
        [DIFFUSION_STEPS, 6],
      ),
      noise: normal([DIFFUSION_STEPS, rows, mar.vae_embed_dim]),
      guidance_scale: float32(new Float32Array(rows).fill(1), [rows, 1]),
    }),
  },
];

async function measure(stage: Stage, rows: number): Promise<object> {
  const feeds = stage.feeds(rows);
  const full = await openStage(stage, "float32", feeds);
  const int8 = await openStage(stage, "int8", feeds);
  const products = await openProducts(full.graph, rows);
  const quality = psnr(await int8.run(), await full.run());
  const versus = (ours: Measured, theirs: Measured): ReturnType<typeof compare> =>
    compare({
      ours: inThisProcess(ours.run),
      theirs: inThisProcess(theirs.run),
      calibration: inThisProcess(calibration.run),
      pairs,
      sliceMs: SLICE_MS,
    });
  const ofPeak = await versus(full, products);
  const speedUp = await versus(int8, full);
  for (const { close } of [products, full, int8]) await close();
  return {
    stage: stage.graph,
    rows,
    "products GFLOP/s": rounded(products.flop / ofPeak.theirs.cpuMs / 1e6),
    "fp32 ms": rounded(ofPeak.ours.cpuMs),
    "fp32 of peak": rounded(ofPeak.ratio),
    "int8 speed-up": rounded(speedUp.ratio),
    "95 %": speedUp.interval.map(rounded).join(" to "),
    "int8 dB": rounded(quality),
    discarded: ofPeak.discarded + speedUp.discarded,
  };
}

const rounded = (value: number): number => Number(value.toPrecision(3));

interface Measured {
  readonly run: () => Promise<Float32Array>;
  readonly close: () => Promise<void>;
}

async function openStage(stage: Stage, dtype: Dtype, feeds: Feeds): Promise<Measured & { readonly graph: OnnxGraph }> {
  const name = `${stage.graph}-${dtype}`;
  const opened = await open(name, (weights) => {
    const g = new GraphBuilder(name, randomWeights, weights, formatIn(dtype));
    GRAPH_BUILDERS[stage.graph](g, config);
    return g.finish();
  });
  return { ...opened, run: () => opened.run(feeds, stage.output) };
}

/** The products of a stage with its weights and nothing else; `flop` of one run. */
async function openProducts(graph: OnnxGraph, rows: number): Promise<Measured & { readonly flop: number }> {
  const shapes = productShapes(graph);
  const opened = await open("products", (weights) => {
    const g = new GraphBuilder("products", randomWeights, weights);
    const corners = shapes.map(([inputs, outputs], index): Value => {
      const x = g.input(`x${inputs}`, "float32", ["rows", inputs]);
      const product = g.op("MatMul", [x, g.parameter(`weight.${index}`, [inputs, outputs])]);
      return slice(g, slice(g, product, { axis: 0, end: g.int(1) }), { axis: 1, end: g.int(1) });
    });
    g.output("corners", g.op("Concat", corners, { axis: 0 }), { type: "float32", dims: ["products", 1] });
    const { inputs, ...rest } = g.finish();
    return { ...rest, inputs: inputs.filter(({ name }, i) => inputs.findIndex((other) => other.name === name) === i) };
  });
  const feeds = Object.fromEntries(shapes.map(([inputs]) => [`x${inputs}`, normal([rows, inputs])]));
  const flop = shapes.reduce((sum, [inputs, outputs]) => sum + 2 * rows * inputs * outputs, 0);
  return { ...opened, run: () => opened.run(feeds, "corners"), flop };
}

/** [inputs, outputs] of every product with a weight in one run of a graph; what stands in a loop counts for each turn. */
function productShapes({ nodes, initializers }: OnnxGraph): readonly (readonly [number, number])[] {
  const shapes = new Map(initializers.map(({ name, dims }) => [name, dims]));
  const of = (all: OnnxGraph["nodes"]): (readonly [number, number])[] =>
    all.flatMap(({ opType, inputs, attributes }) => {
      const body = attributes["body"];
      if (body?.kind === "graph") return Array.from({ length: DIFFUSION_STEPS }, () => of(body.value.nodes)).flat();
      const [rows, columns] = shapes.get(inputs[1] ?? "") ?? [];
      return opType === "MatMul" && rows !== undefined && columns !== undefined ? [[rows, columns] as const] : [];
    });
  return of(nodes);
}

async function open(name: string, build: (weights: WeightsFile) => OnnxGraph) {
  const weightsFile = `${name}.bin`;
  rmSync(join(scratch, weightsFile), { force: true });
  const weights = new WeightsFile(join(scratch, weightsFile), weightsFile);
  const graph = build(weights);
  weights.close();
  const file = join(scratch, `${name}.onnx`);
  writeFileSync(file, encodeModel(graph));
  const session = await InferenceSession.create(file, {
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    logSeverityLevel: 3,
  });
  return {
    graph,
    run: async (feeds: Feeds, output: string): Promise<Float32Array> => {
      const tensor = (await session.run(feeds, [output]))[output];
      if (tensor === undefined) throw new Error(`${name} has no output ${output}`);
      return valuesOf(tensor);
    },
    close: () => session.release(),
  };
}

/** Weights as they are initialised: norms 1, biases 0, the others normally distributed with 1 / sqrt(inputs). */
const randomWeights: ParameterSource = {
  has: () => false,
  read: (key, shape) => {
    const size = shape.reduce((product, dim) => product * dim, 1);
    if (key.endsWith("bias")) return new Float32Array(size);
    if (shape.length === 1) return new Float32Array(size).fill(1);
    const seed = [...key].reduce((hash, letter) => (Math.imul(hash, 31) + letter.charCodeAt(0)) >>> 0, 0);
    return normalValues(size, seed).map((value) => value / Math.sqrt(shape.at(-1) ?? 1));
  },
};

/** About normally distributed: sums of four uniform numbers. */
function normalValues(count: number, seed: number): Float32Array {
  let state = seed;
  const values = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    let sum = -2;
    for (let term = 0; term < 4; term++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      sum += state / 2 ** 32;
    }
    values[i] = sum * Math.sqrt(3);
  }
  return values;
}

function normal(shape: readonly number[]): Tensor {
  const size = shape.reduce((product, dim) => product * dim, 1);
  return float32(normalValues(size, size), shape);
}

function range(count: number): Tensor {
  return int64(
    Array.from({ length: count }, (_, i) => i),
    [1, count],
  );
}

function emptyCache(): Tensor {
  return float32(new Float32Array(0), [1, llm.num_key_value_heads, 0, llm.hidden_size / llm.num_attention_heads]);
}

const scratch = mkdtempSync(join(tmpdir(), "atelier-stages-"));
const calibration = await openMatrixProduct({ rows: 256, inputs: 1536, outputs: 1536 });
const results: object[] = [];
try {
  for (const stage of STAGES) for (const rows of ROWS) results.push(await measure(stage, rows));
} finally {
  await calibration.close();
  rmSync(scratch, { recursive: true });
}
console.table(results);
const folder = join(import.meta.dirname, "../../bench/results");
mkdirSync(folder, { recursive: true });
const machine = cpus()[0]?.model ?? "unknown";
writeFileSync(
  join(folder, "stages.json"),
  `${JSON.stringify({ machine, threads: 1, pairs, results }, undefined, 2)}\n`,
);
