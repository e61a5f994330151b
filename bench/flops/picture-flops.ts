/**
 * What one picture costs, in floating-point operations: ours from the graphs that run, the original's by formula. Both
 * count as graph-flops.ts says.
 */
import { GraphBuilder } from "../../inference/graph/graph-builder.ts";
import type { OnnxGraph } from "../../inference/graph/onnx-model.ts";
import type { WeightsFile } from "../../inference/graph/weights-file.ts";
import type { GraphName } from "../../inference/manifest.ts";
import type { UnipicConfig } from "../../inference/model/config.ts";
import { GRAPH_BUILDERS } from "../../inference/model/unipic.ts";
import { diffusionSchedule } from "../../inference/sampling/diffusion-schedule.ts";
import { type MaskStep, maskSteps } from "../../inference/sampling/mask-schedule.ts";
import { type Speed, type StepRun, stepRuns } from "../../inference/sampling/speed.ts";
import { graphFlops } from "./graph-flops.ts";

export interface PictureWork {
  /** Image tokens along each side. */
  readonly side: number;
  /** MAR steps. */
  readonly steps: number;
  readonly diffusionSteps: number;
  /** Tokens of the prompt, and of what guidance leads away from. */
  readonly promptTokens: readonly [conditional: number, unconditional: number];
}

/** By stage. */
export type Flops = Readonly<Record<"prefill" | "encoder" | "llm" | "decoder" | "diffusion" | "vae", number>>;

export const totalOf = (flops: Flops): number => Object.values(flops).reduce((sum, each) => sum + each, 0);

/** A graph of a configuration without its weights. */
export function graphOf(name: GraphName, config: UnipicConfig): OnnxGraph {
  const zeros = (_: string, shape: readonly number[]): Float32Array =>
    new Float32Array(shape.reduce((product, dim) => product * dim, 1));
  const nowhere: Pick<WeightsFile, "fileName" | "place"> = { fileName: "", place: () => ({ offset: 0, length: 0 }) };
  const graph = new GraphBuilder(name, { has: () => true, read: zeros }, nowhere as WeightsFile);
  GRAPH_BUILDERS[name](graph, config);
  return graph.finish();
}

/** One picture with guidance, whose unconditional prompt was drawn with before: its first step is kept. */
export function ourFlops(config: UnipicConfig, work: PictureWork, speed: Speed = "exact"): Flops {
  const { side, diffusionSteps, promptTokens } = work;
  const buffers = config.mar.buffer_size;
  const tokens = side ** 2;
  const graphs = new Map<GraphName, OnnxGraph>();
  const flops = (name: GraphName, sizes: Record<string, number>): number => {
    const graph = graphs.get(name) ?? graphOf(name, config);
    graphs.set(name, graph);
    return graphFlops(graph, sizes);
  };
  const runs = stepRuns(maskSteps({ tokenCount: tokens, steps: work.steps }), speed, true);
  const overRuns = (count: (run: RunSizes) => number): number =>
    runs.reduce((sum, run, index) => sum + count(sizesOf(run, runs.slice(index + 1))), 0);
  const llm = (rows: number, fresh: number, past: number): number => flops("llm", { rows, new: fresh, past });
  const times = diffusionSchedule(String(diffusionSteps)).times.length;
  const places = buffers + tokens;
  return {
    prefill: llm(1, promptTokens[0], 0),
    encoder: overRuns(({ visible }) => flops("mar-encoder", { images: 1, visible, places })),
    llm: overRuns(({ rows, visible }) => llm(rows, visible + buffers, Math.max(...promptTokens))),
    decoder: overRuns(({ rows, visible, predicted, ahead }) =>
      flops("mar-decoder", {
        ...{ images: 1, rows, places, grid_places: tokens, canvas_rows: 1, canvas_places: 1 },
        predicted: predicted + ahead,
        ...{ "buffers+visible": buffers + visible, "visible+buffers": visible + buffers },
      }),
    ),
    diffusion:
      flops("diffusion-time", { steps: times }) +
      overRuns(({ predicted, diffusionShare }) => {
        const sizes = { tokens: predicted, "branches*tokens": 2 * predicted };
        const steps = diffusionSchedule(String(diffusionSteps), diffusionShare).times.length;
        return flops("diffusion-condition", { rows: 2 * predicted }) + flops("diffusion-head", { ...sizes, steps });
      }),
    vae: flops("vae-decoder", { images: 1, rows: side, columns: side }),
  };
}

interface RunSizes {
  /** Branches that are computed. */
  readonly rows: number;
  readonly visible: number;
  readonly predicted: number;
  /** Places for which guidance is set aside. */
  readonly ahead: number;
  readonly diffusionShare: number;
}

function sizesOf({ steps, reusesGuidance, diffusionShare }: StepRun, later: readonly StepRun[]): RunSizes {
  const predictedBy = (run: Pick<StepRun, "steps">): number => run.steps.reduce((sum, each) => sum + each.predicted, 0);
  const visible = steps[0]?.visible ?? 0;
  const refresh = later.findIndex((run) => !run.reusesGuidance);
  const reusing = reusesGuidance ? [] : later.slice(0, refresh === -1 ? later.length : refresh);
  return {
    rows: reusesGuidance || visible === 0 ? 1 : 2,
    visible,
    predicted: predictedBy({ steps }),
    ahead: reusing.reduce((sum, run) => sum + predictedBy(run), 0),
    diffusionShare,
  };
}

/**
 * The original: both branches go through everything, every block computes all rows, embeddings of times and conditions
 * are computed for every row and step, and both halves are decoded (model-spec 14).
 */
export function originalFlops(config: UnipicConfig, { side, steps, diffusionSteps, promptTokens }: PictureWork): Flops {
  const { mar, llm } = config;
  const buffers = mar.buffer_size;
  const tokens = side ** 2;
  const places = buffers + tokens;
  const overSteps = (count: (step: MaskStep) => number): number =>
    maskSteps({ tokenCount: tokens, steps }).reduce((sum, step) => sum + count(step), 0);
  const longest = Math.max(...promptTokens);
  const { hidden_size: hidden } = llm;
  const projections = (rows: number): number =>
    linearFlops(rows, mar.encoder_embed_dim, hidden) +
    2 * linearFlops(rows, hidden, hidden) +
    linearFlops(rows, hidden, mar.encoder_embed_dim);
  return {
    prefill: 2 * llmFlops(config, longest, 0),
    encoder: overSteps(({ visible }) => 2 * encoderFlops(config, visible)),
    llm: overSteps(
      ({ visible }) => 2 * (llmFlops(config, visible + buffers, longest) + projections(visible + buffers)),
    ),
    decoder: overSteps(
      ({ visible }) =>
        2 *
        (linearFlops(visible + buffers, mar.encoder_embed_dim, mar.decoder_embed_dim) +
          mar.decoder_depth * blockFlops(places, mar.decoder_embed_dim, mar.mlp_ratio)),
    ),
    diffusion: 2 * tokens * diffusionSteps * denoiserFlops(config),
    vae: 2 * graphFlops(graphOf("vae-decoder", config), { images: 1, rows: side, columns: side }),
  };
}

const linearFlops = (rows: number, inputs: number, outputs: number): number => 2 * rows * inputs * outputs;

/** One bidirectional transformer block. */
export const blockFlops = (rows: number, width: number, mlpRatio: number): number =>
  linearFlops(rows, width, 4 * width) + 2 * linearFlops(rows, width, mlpRatio * width) + 4 * rows * rows * width;

export const encoderFlops = ({ mar }: UnipicConfig, visible: number): number =>
  linearFlops(visible, mar.vae_embed_dim, mar.encoder_embed_dim) +
  mar.encoder_depth * blockFlops(mar.buffer_size + visible, mar.encoder_embed_dim, mar.mlp_ratio);

/** The body for one row: `fresh` tokens behind `past` ones. */
export function llmFlops({ llm }: UnipicConfig, fresh: number, past: number): number {
  const { hidden_size: width, intermediate_size: mlpWidth, num_attention_heads: heads } = llm;
  const keyWidth = (width / heads) * llm.num_key_value_heads;
  const layer =
    2 * linearFlops(fresh, width, width) +
    2 * linearFlops(fresh, width, keyWidth) +
    3 * linearFlops(fresh, width, mlpWidth) +
    4 * fresh * (past + fresh) * width;
  return llm.num_hidden_layers * layer;
}

/** One evaluation for one token, with the embeddings of its time and condition. */
export function denoiserFlops({ mar }: UnipicConfig): number {
  const { diffloss_w: width, diffloss_d: depth, vae_embed_dim: channels, decoder_embed_dim } = mar;
  const embeddings =
    linearFlops(1, 256, width) + linearFlops(1, width, width) + linearFlops(1, decoder_embed_dim, width);
  const block = linearFlops(1, width, 3 * width) + 2 * linearFlops(1, width, width);
  const ends = linearFlops(1, channels, width) + linearFlops(1, width, 2 * width) + linearFlops(1, width, 2 * channels);
  return embeddings + depth * block + ends;
}
