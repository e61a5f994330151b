/**
 * Prompts to image tokens: the masked autoregressive loop. Pictures that run together share every graph run; rows of a
 * run are the pictures once per branch, all conditional, then (with guidance) all unconditional.
 * Source: `sample` in src/models/skywork_unipic_siglip.py of SkyworkAI/UniPic, UniPic-1 (model-spec 5).
 */
import type { LoadedModel } from "../runtime/loaded-model.ts";
import type { Grid } from "../runtime/position-tables.ts";
import { float32, int64, type Tensor, valuesOf } from "../runtime/tensor.ts";
import { type GuidanceSchedule, guidanceScaleAt } from "../sampling/guidance.ts";
import { type MaskStep, maskSteps, placesOfStep } from "../sampling/mask-schedule.ts";
import type { Randomness } from "../sampling/randomness.ts";
import { DiffusionSampler } from "./diffusion-sampler.ts";
import { type Prefix, pastOf } from "./prefix.ts";

export interface MarRequest {
  /** The prompt of each picture. */
  readonly conditional: readonly Prefix[];
  /** What guidance leads away from, for each picture; empty without guidance. */
  readonly unconditional: readonly Prefix[];
  readonly grid: Grid;
  /** What stands at unknown places, [1, K + N, D]; the mask token unless given. */
  readonly canvas?: Tensor;
  /** Tokens that are known from the beginning, of every picture; none unless given. */
  readonly kept?: KeptTokens;
  /** MAR steps. */
  readonly steps: number;
  readonly diffusionSteps: string;
  readonly guidanceScale: number;
  readonly guidanceSchedule: GuidanceSchedule;
  readonly temperature: number;
  readonly randomness: Randomness;
}

export interface KeptTokens {
  /** 1 where a token is kept: [N] */
  readonly isKept: Uint8Array;
  /** [N, C] scaled latents; values at other places are not read. */
  readonly tokens: Float32Array;
}

/** All the state there is between two steps: noise is counter-based, and the order follows from the seed. */
export interface MarState {
  /** Steps taken, of those that predict something. */
  readonly stepsDone: number;
  /** Of each picture, [N, C] scaled latents; unknown places hold zeros. */
  readonly tokens: readonly Float32Array[];
}

export interface MarProgress extends MarState {
  readonly totalSteps: number;
  /** Of each picture, 1 where a place is known: [N] */
  readonly known: readonly Uint8Array[];
}

export const tokenCountOf = ({ rows, columns }: Grid): number => rows * columns;

/** The state before the first step. */
export function initialState(
  model: LoadedModel,
  { conditional, grid, kept }: Pick<MarRequest, "conditional" | "grid" | "kept">,
): MarState {
  const { latentChannels } = model.manifest.dimensions;
  const size = tokenCountOf(grid) * latentChannels;
  const first = Float32Array.from({ length: size }, (_, i) =>
    kept?.isKept[Math.floor(i / latentChannels)] === 1 ? (kept.tokens[i] ?? 0) : 0,
  );
  return { stepsDone: 0, tokens: conditional.map(() => first.slice()) };
}

/** The steps of a drawing of which some tokens are kept; those that would predict nothing are left out. */
export function stepsOf({ grid, steps }: Pick<MarRequest, "grid" | "steps">, isKept?: Uint8Array): readonly MaskStep[] {
  const keptCount = countOf(isKept);
  const schedule = maskSteps({ tokenCount: tokenCountOf(grid) - keptCount, steps });
  return schedule.map((step) => ({ ...step, visible: step.visible + keptCount }));
}

const countOf = (isKept: Uint8Array | undefined): number => isKept?.reduce((sum, one) => sum + one, 0) ?? 0;

/** Yields the state after every step; continue from any of them by giving it as `from`. */
export async function* sampleTokens(
  model: LoadedModel,
  request: MarRequest,
  { from, signal }: { from: MarState; signal: AbortSignal },
): AsyncGenerator<MarProgress> {
  const schedule = stepsOf(request, request.kept?.isKept);
  const loop = new MarLoop(model, request, await DiffusionSampler.create(model, request.diffusionSteps));
  const tokens = from.tokens.map((values) => values.slice());
  for (const [index, step] of schedule.entries()) {
    if (index < from.stepsDone) continue;
    signal.throwIfAborted();
    await loop.take(step, tokens, signal);
    yield {
      stepsDone: index + 1,
      totalSteps: schedule.length,
      tokens: tokens.map((values) => values.slice()),
      known: loop.knownAfter(step),
    };
  }
}

class MarLoop {
  private readonly orders: readonly Uint32Array[];
  private readonly past: Record<string, Tensor>;
  private readonly branches: number;
  private readonly tokenCount: number;
  /** Tokens to predict. */
  private readonly openCount: number;

  constructor(
    private readonly model: LoadedModel,
    private readonly request: MarRequest,
    private readonly diffusion: DiffusionSampler,
  ) {
    this.tokenCount = tokenCountOf(request.grid);
    this.openCount = this.tokenCount - countOf(request.kept?.isKept);
    this.orders = request.conditional.map((_, image) => this.orderOf(image));
    this.past = pastOf(model, [...request.conditional, ...request.unconditional]);
    this.branches = request.unconditional.length === 0 ? 1 : 2;
  }

  /** Predicts the places of one step into `tokens`. */
  async take(step: MaskStep, tokens: readonly Float32Array[], signal: AbortSignal): Promise<void> {
    const { latentChannels: channels } = this.model.manifest.dimensions;
    const places = this.orders.map((order) => placesOfStep(order, step));
    const conditions = await this.conditionsOf(places, tokens);
    signal.throwIfAborted();
    const span = step.predicted * channels;
    const latents = await this.diffusion.sample(
      {
        conditions,
        tokenCount: this.orders.length * step.predicted,
        guidanceScale: guidanceScaleAt(step, {
          scale: this.request.guidanceScale,
          schedule: this.request.guidanceSchedule,
          tokenCount: this.openCount,
        }),
        temperature: this.request.temperature,
        fillNoise: (out, draw) => {
          for (const [image, { predicted }] of places.entries()) {
            const rows = out.subarray(image * span, (image + 1) * span);
            this.request.randomness.fillNoise(rows, { image, step: step.step, draw, places: predicted });
          }
        },
      },
      signal,
    );
    for (const [image, { predicted }] of places.entries()) {
      for (const [row, place] of predicted.entries()) {
        const start = image * span + row * channels;
        tokens[image]?.set(latents.subarray(start, start + channels), place * channels);
      }
    }
  }

  /** Kept places stand where the known ones are: at the end. */
  private orderOf(image: number): Uint32Array {
    const order = this.request.randomness.order(image, this.tokenCount);
    const { kept } = this.request;
    if (kept === undefined) return order;
    const isKept = (place: number): boolean => kept.isKept[place] === 1;
    return Uint32Array.from([...order.filter((place) => !isKept(place)), ...order.filter(isKept)]);
  }

  knownAfter({ visible, predicted }: MaskStep): readonly Uint8Array[] {
    return this.orders.map((order) => {
      const known = new Uint8Array(order.length);
      for (const place of order.subarray(order.length - visible - predicted)) known[place] = 1;
      return known;
    });
  }

  /** Encoder, language model, decoder: [branches * images * predicted, D] */
  private async conditionsOf(places: readonly StepPlaces[], tokens: readonly Float32Array[]): Promise<Tensor> {
    const { latentChannels, bufferTokens, llmWidth, decoderWidth } = this.model.manifest.dimensions;
    const images = places.length;
    const rows = images * this.branches;
    const visibleCount = places[0]?.visible.length ?? 0;
    const predictedCount = places[0]?.predicted.length ?? 0;
    const perRow = <T>(values: readonly T[]): T[] => Array.from({ length: this.branches }, () => values).flat();

    const { x_enc, z_enc } = await this.model.run(
      "mar-encoder",
      {
        tokens: float32(visibleLatents(places, tokens, latentChannels), [images, visibleCount, latentChannels]),
        visible: int64(
          places.flatMap(({ visible }) => [...visible]),
          [images, visibleCount],
        ),
        position_table: this.table("encoder"),
      },
      ["x_enc", "z_enc"],
    );
    const embeds = repeat(valuesOf(z_enc), this.branches);
    const { hidden } = await this.model.run(
      "llm",
      { embeds: float32(embeds, [rows, visibleCount + bufferTokens, llmWidth]), ...this.past },
      ["hidden"],
    );
    const { z } = await this.model.run(
      "mar-decoder",
      {
        x_enc,
        hidden,
        canvas: this.request.canvas ?? float32(this.model.tensor("mask_token"), [1, 1, decoderWidth]),
        canvas_index: int64(perRow(places.map((place) => this.canvasIndex(place))).flat(), [
          rows,
          bufferTokens + this.tokenCount,
        ]),
        predict: int64(perRow(places.map(({ predicted }) => [...predicted])).flat(), [rows, predictedCount]),
        position_table: this.table("decoder"),
        diffusion_table: this.table("diffusion"),
      },
      ["z"],
    );
    return float32(valuesOf(z), [rows * predictedCount, decoderWidth]);
  }

  /** For every buffer token and grid place, its row among the encoder's results, or -1 while unknown. */
  private canvasIndex({ visible }: StepPlaces): number[] {
    const { bufferTokens } = this.model.manifest.dimensions;
    const index = new Array<number>(bufferTokens + this.tokenCount).fill(-1);
    for (let buffer = 0; buffer < bufferTokens; buffer++) index[buffer] = buffer;
    for (const [row, place] of visible.entries()) index[bufferTokens + place] = bufferTokens + row;
    return index;
  }

  private table(kind: "encoder" | "decoder" | "diffusion"): Tensor {
    const { encoderWidth, decoderWidth } = this.model.manifest.dimensions;
    const values = this.model.positionTable(kind, this.request.grid);
    const width = kind === "encoder" ? encoderWidth : decoderWidth;
    return float32(values, [values.length / width, width]);
  }
}

type StepPlaces = ReturnType<typeof placesOfStep>;

/** [images, visible, C] */
function visibleLatents(
  places: readonly StepPlaces[],
  tokens: readonly Float32Array[],
  channels: number,
): Float32Array {
  const count = places[0]?.visible.length ?? 0;
  const latents = new Float32Array(places.length * count * channels);
  for (const [image, { visible }] of places.entries()) {
    for (const [row, place] of visible.entries()) {
      const source = tokens[image]?.subarray(place * channels, (place + 1) * channels) ?? [];
      latents.set(source, (image * count + row) * channels);
    }
  }
  return latents;
}

function repeat(values: Float32Array, times: number): Float32Array {
  if (times === 1) return values;
  const result = new Float32Array(values.length * times);
  for (let i = 0; i < times; i++) result.set(values, i * values.length);
  return result;
}
