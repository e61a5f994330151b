/**
 * One step of the masked autoregressive loop for pictures that share every graph run, whoever asked for them. Rows of a
 * run are the pictures once per branch: all conditional, then (with guidance) all unconditional. No row reads another.
 * Source: `sample` in src/models/skywork_unipic_siglip.py of SkyworkAI/UniPic, UniPic-1 (model-spec 5).
 */
import type { LoadedModel } from "../runtime/loaded-model.ts";
import type { Grid } from "../runtime/position-tables.ts";
import { float32, int64, type Tensor, valuesOf } from "../runtime/tensor.ts";
import { DiffusionSampler, type FillNoise } from "./diffusion-sampler.ts";
import { joined, withGuidance } from "./guidance-cache.ts";
import { type Prefix, pastOf } from "./prefix.ts";
import { type StepTimes, timeNow } from "./stages.ts";

/** All that a step needs to know of a picture. */
export interface StepPicture {
  readonly grid: Grid;
  /** In the notation of the original: "100", "10,5,20" or "ddim50". */
  readonly diffusionSteps: string;
  /** Of these, how many are taken: up to 1. */
  readonly diffusionShare: number;
  /** Grid places that are known, in raster order. */
  readonly visible: Uint32Array;
  /** Those to predict. */
  readonly predicted: Uint32Array;
  /** Those for which guidance is set aside; mostly none. */
  readonly ahead: Uint32Array;
  /** [N, C] scaled latents; only visible places are read. */
  readonly tokens: Float32Array;
  readonly conditional: Prefix;
  /** Undefined without guidance, and where it was set aside. */
  readonly unconditional: Prefix | undefined;
  /** If it was set aside, of the predicted places, then of later ones: [predicted + later, D] */
  readonly guidance: Float32Array | undefined;
  /** What stands at unknown places, [1, K + N, D]; the mask token unless given. */
  readonly canvas: Tensor | undefined;
  readonly guidanceScale: number;
  readonly temperature: number;
  /** Noise of the predicted places. */
  readonly fillNoise: FillNoise;
}

/** What encoder, language model and decoder read. */
type ContextPicture = Pick<
  StepPicture,
  "grid" | "visible" | "predicted" | "ahead" | "tokens" | "conditional" | "unconditional" | "canvas"
>;

/** What a step makes of a picture. */
export interface StepResult {
  /** Of the predicted places: [predicted, C], scaled */
  readonly latents: Float32Array;
  /** What is set aside, of the places ahead, or of the later ones: [ahead or later, D] */
  readonly guidance: Float32Array;
  /** The same for all pictures that shared its run. */
  readonly times: StepTimes;
}

/**
 * Attention scores of one head in one run, at most. At 1024 px a picture with guidance has half of them; rows of that
 * size gain nothing from company, and each takes about 0.8 GB.
 */
const SCORES_PER_RUN = 2 ** 26;

/** Pictures that can share their graph runs, by index: runs are as large as shapes and memory allow. */
export function shareRuns(pictures: readonly StepPicture[], bufferTokens: number): readonly (readonly number[])[] {
  const byShape = new Map<string, number[]>();
  for (const [index, picture] of pictures.entries()) {
    const shape = shapeOf(picture);
    byShape.set(shape, [...(byShape.get(shape) ?? []), index]);
  }
  return [...byShape.values()].flatMap((indices) => {
    const largest = Math.max(...indices.map((index) => scoresOf(pictures[index], bufferTokens)));
    return chunks(indices, Math.max(1, Math.floor(SCORES_PER_RUN / largest)));
  });
}

/** Equal for pictures whose rows fit into the same tensors. Scales, temperatures, prompts and noise belong to a row. */
const shapeOf = ({
  grid,
  visible,
  predicted,
  ahead,
  unconditional,
  guidance,
  canvas,
  ...diffusion
}: StepPicture): string =>
  [
    `${grid.rows}x${grid.columns}`,
    `${visible.length}+${predicted.length}+${ahead.length}`,
    samplerKey(diffusion),
    unconditional === undefined,
    guidance?.length,
    canvas === undefined,
  ].join(" ");

type Diffusion = Pick<StepPicture, "diffusionSteps" | "diffusionShare">;

const samplerKey = ({ diffusionSteps, diffusionShare }: Diffusion): string => `${diffusionSteps} x ${diffusionShare}`;

function scoresOf(picture: StepPicture | undefined, bufferTokens: number): number {
  if (picture === undefined) return 0;
  const { grid, conditional, unconditional } = picture;
  const tokens = bufferTokens + grid.rows * grid.columns;
  const scores = ({ length }: Prefix): number => tokens * (length + tokens);
  return scores(conditional) + (unconditional === undefined ? 0 : scores(unconditional));
}

function chunks<T>(values: readonly T[], size: number): readonly (readonly T[])[] {
  return Array.from({ length: Math.ceil(values.length / size) }, (_, i) => values.slice(i * size, (i + 1) * size));
}

export class MarStep {
  private readonly samplers = new Map<string, Promise<DiffusionSampler>>();
  /** Of the last run: the next step mostly has the same rows. One at a time, for a row may take 0.25 GB. */
  private stacked: { readonly rows: readonly Prefix[]; readonly past: Record<string, Tensor> } | undefined;

  constructor(private readonly model: LoadedModel) {}

  /**
   * Predicts one step of pictures that can share their runs.
   *
   * @param signals the step ends between two runs once all are aborted
   * @returns for each picture
   */
  async take(pictures: readonly StepPicture[], signals: readonly AbortSignal[]): Promise<readonly StepResult[]> {
    const { latentChannels, decoderWidth } = this.model.manifest.dimensions;
    const [first] = pictures;
    if (first === undefined) throw new RangeError("a step without pictures");
    const startedAt = timeNow();
    const sampler = await this.samplerOf(first);
    throwIfAllAborted(signals);
    const { conditions, aside } = withGuidance(await this.conditionsOf(pictures), pictures);
    const diffusionAt = timeNow();
    const count = first.predicted.length;
    const rows = float32(conditions, [conditions.length / decoderWidth, decoderWidth]);
    const latents = await sampler.sample({ conditions: rows, tokensPerPart: count, parts: pictures }, () =>
      throwIfAllAborted(signals),
    );
    const span = count * latentChannels;
    const times = { startedAt, diffusionAt, endedAt: timeNow(), pictures: pictures.length };
    return aside.map((guidance, i) => ({ latents: latents.subarray(i * span, (i + 1) * span), guidance, times }));
  }

  private samplerOf(diffusion: Diffusion): Promise<DiffusionSampler> {
    const key = samplerKey(diffusion);
    const { diffusionSteps, diffusionShare } = diffusion;
    const sampler = this.samplers.get(key) ?? DiffusionSampler.create(this.model, diffusionSteps, diffusionShare);
    this.samplers.set(key, sampler);
    return sampler;
  }

  /**
   * What the diffusion is led by: [rows, predicted + ahead, D]. While no token is known, an unconditional branch depends
   * on its prompt alone: what it leads to is kept with the prompt. That saves 5 of 896 TFLOP of a picture of 1024 px in 32
   * steps (bench/flops.ts), and 5 % of the CPU time of a tiny one against making it anew (median of 30 pairs).
   */
  private async conditionsOf(pictures: readonly StepPicture[]): Promise<Float32Array> {
    const isFirst = pictures.every(({ visible, canvas }) => visible.length === 0 && canvas === undefined);
    if (!isFirst) return this.contextOf(pictures);
    const parts = [await this.contextOf(pictures.map((picture) => ({ ...picture, unconditional: undefined })))];
    for (const { grid, unconditional, predicted, ahead } of pictures) {
      if (unconditional === undefined) continue;
      parts.push(rowsOf(await this.firstStepOf(unconditional, grid), [...predicted, ...ahead], grid));
    }
    return joined(parts);
  }

  /** [N, D] */
  private async firstStepOf(prefix: Prefix, grid: Grid): Promise<Float32Array> {
    const key = `${grid.rows}x${grid.columns}`;
    const known = prefix.firstSteps.get(key);
    if (known !== undefined) return known;
    const none = new Uint32Array(0);
    const predicted = Uint32Array.from({ length: grid.rows * grid.columns }, (_, place) => place);
    const picture = { grid, visible: none, predicted, ahead: none, tokens: new Float32Array(0), conditional: prefix };
    const z = await this.contextOf([{ ...picture, unconditional: undefined, canvas: undefined }]);
    prefix.firstSteps.set(key, z);
    return z;
  }

  /** Encoder, language model, decoder: [rows, predicted + ahead, D] */
  private async contextOf(pictures: readonly ContextPicture[]): Promise<Float32Array> {
    const { latentChannels, bufferTokens, llmWidth } = this.model.manifest.dimensions;
    const [first] = pictures;
    if (first === undefined) throw new RangeError("a step without pictures");
    const { grid, visible } = first;
    const wanted = first.predicted.length + first.ahead.length;
    const prompts = [
      ...pictures.map(({ conditional }) => conditional),
      ...pictures.flatMap(({ unconditional }) => unconditional ?? []),
    ];
    const rows = prompts.length;
    const branches = rows / pictures.length;
    const perRow = (values: readonly number[]): number[] => Array.from({ length: branches }, () => values).flat();

    const { x_enc, z_enc } = await this.model.run(
      "mar-encoder",
      {
        tokens: float32(visibleLatents(pictures, latentChannels), [pictures.length, visible.length, latentChannels]),
        visible: int64(
          pictures.flatMap((picture) => [...picture.visible]),
          [pictures.length, visible.length],
        ),
        position_table: this.table("encoder", grid),
      },
      ["x_enc", "z_enc"],
    );
    const embeds = repeat(valuesOf(z_enc), branches);
    const { hidden } = await this.model.run(
      "llm",
      { embeds: float32(embeds, [rows, visible.length + bufferTokens, llmWidth]), ...this.pastOf(prompts) },
      ["hidden"],
    );
    const places = bufferTokens + grid.rows * grid.columns;
    const { z } = await this.model.run(
      "mar-decoder",
      {
        x_enc,
        hidden,
        canvas: this.canvasOf(pictures, branches),
        canvas_index: int64(perRow(pictures.flatMap((picture) => this.canvasIndex(picture))), [rows, places]),
        predict: int64(perRow(pictures.flatMap(({ predicted, ahead }) => [...predicted, ...ahead])), [rows, wanted]),
        position_table: this.table("decoder", grid),
        diffusion_table: this.table("diffusion", grid),
      },
      ["z"],
    );
    return valuesOf(z);
  }

  private pastOf(rows: readonly Prefix[]): Record<string, Tensor> {
    const { stacked } = this;
    if (stacked?.rows.length === rows.length && rows.every((row, i) => row === stacked.rows[i])) return stacked.past;
    this.stacked = undefined; // not two at once
    const past = pastOf(this.model, rows);
    this.stacked = { rows, past };
    return past;
  }

  /** [1, 1, D], [1, K + N, D] when all pictures have the same, or [rows, K + N, D] */
  private canvasOf(pictures: readonly ContextPicture[], branches: number): Tensor {
    const { decoderWidth } = this.model.manifest.dimensions;
    const canvases = pictures.flatMap(({ canvas }) => canvas ?? []);
    const [first] = canvases;
    if (first === undefined) return float32(this.model.tensor("mask_token"), [1, 1, decoderWidth]);
    if (canvases.every((canvas) => canvas === first)) return first;
    const stack = new Float32Array(first.size * canvases.length);
    for (const [i, canvas] of canvases.entries()) stack.set(valuesOf(canvas), i * first.size);
    return float32(repeat(stack, branches), [canvases.length * branches, ...first.dims.slice(1)]);
  }

  /** For every buffer token and grid place, its row among the encoder's results, or -1 while unknown. */
  private canvasIndex({ grid, visible }: ContextPicture): number[] {
    const { bufferTokens } = this.model.manifest.dimensions;
    const index = new Array<number>(bufferTokens + grid.rows * grid.columns).fill(-1);
    for (let buffer = 0; buffer < bufferTokens; buffer++) index[buffer] = buffer;
    for (const [row, place] of visible.entries()) index[bufferTokens + place] = bufferTokens + row;
    return index;
  }

  private table(kind: "encoder" | "decoder" | "diffusion", grid: Grid): Tensor {
    const { encoderWidth, decoderWidth } = this.model.manifest.dimensions;
    const values = this.model.positionTable(kind, grid);
    const width = kind === "encoder" ? encoderWidth : decoderWidth;
    return float32(values, [values.length / width, width]);
  }
}

function throwIfAllAborted(signals: readonly AbortSignal[]): void {
  if (signals.every(({ aborted }) => aborted)) signals[0]?.throwIfAborted();
}

/** [pictures, visible, C] */
function visibleLatents(pictures: readonly ContextPicture[], channels: number): Float32Array {
  const count = pictures[0]?.visible.length ?? 0;
  const latents = new Float32Array(pictures.length * count * channels);
  for (const [image, { visible, tokens }] of pictures.entries()) {
    for (const [row, place] of visible.entries()) {
      latents.set(tokens.subarray(place * channels, (place + 1) * channels), (image * count + row) * channels);
    }
  }
  return latents;
}

/** The rows of some places, of values [N, width]. */
function rowsOf(values: Float32Array, places: readonly number[], grid: Grid): Float32Array {
  const width = values.length / (grid.rows * grid.columns);
  return joined(places.map((place) => values.subarray(place * width, (place + 1) * width)));
}

function repeat(values: Float32Array, times: number): Float32Array {
  if (times === 1) return values;
  const result = new Float32Array(values.length * times);
  for (let i = 0; i < times; i++) result.set(values, i * values.length);
  return result;
}
