/**
 * Prompts to image tokens: the masked autoregressive loop of one request. What a step computes is in mar-step.ts, and
 * with whom it is shared in step-group.ts.
 * Source: `sample` in src/models/skywork_unipic_siglip.py of SkyworkAI/UniPic, UniPic-1 (model-spec 5).
 */
import type { LoadedModel } from "../runtime/loaded-model.ts";
import type { Grid } from "../runtime/position-tables.ts";
import type { Tensor } from "../runtime/tensor.ts";
import { type GuidanceSchedule, guidanceScaleAt } from "../sampling/guidance.ts";
import { type MaskStep, maskSteps, placesOfStep } from "../sampling/mask-schedule.ts";
import type { Randomness } from "../sampling/randomness.ts";
import { resumeStep, type Speed, type StepRun, stepRuns } from "../sampling/speed.ts";
import { requireFinite } from "./finite.ts";
import type { StepPicture } from "./mar-step.ts";
import type { Prefix } from "./prefix.ts";
import type { OnStage } from "./stages.ts";
import { StepGroup, type StepMember } from "./step-group.ts";

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
  readonly speed: Speed;
  readonly randomness: Randomness;
}

/** Which tokens are known from the beginning. */
export interface KeptPlaces {
  readonly count: number;
  /** 1 where a token is kept, [N]; those that a picture's order reveals first unless given. */
  readonly isKept?: Uint8Array;
}

export interface KeptTokens extends KeptPlaces {
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
export function initialState(model: LoadedModel, request: MarRequest): MarState {
  const { latentChannels: channels } = model.manifest.dimensions;
  const { conditional, grid, kept } = request;
  const tokens = conditional.map((_, image) => {
    const values = new Float32Array(tokenCountOf(grid) * channels);
    if (kept === undefined) return values;
    const order = orderOf(request, image);
    for (const each of order.subarray(order.length - kept.count)) {
      values.set(kept.tokens.subarray(each * channels, (each + 1) * channels), each * channels);
    }
    return values;
  });
  return { stepsDone: 0, tokens };
}

/** The steps of a drawing of which some tokens are kept; those that would predict nothing are left out. */
export function stepsOf({ grid, steps }: Pick<MarRequest, "grid" | "steps">, kept?: KeptPlaces): readonly MaskStep[] {
  const keptCount = kept?.count ?? 0;
  const schedule = maskSteps({ tokenCount: tokenCountOf(grid) - keptCount, steps });
  return schedule.map((step) => ({ ...step, visible: step.visible + keptCount }));
}

/** Yields the state after every run of steps; continue from any of them by giving it as `from`. */
export async function* sampleTokens(
  model: LoadedModel,
  request: MarRequest,
  { from, signal, member = new StepGroup(model).join(), onStage }: SamplingOptions,
): AsyncGenerator<MarProgress> {
  const schedule = stepsOf(request, request.kept);
  const runs = stepRuns(schedule, request.speed, request.unconditional.length > 0);
  const start = resumeStep(runs, from.stepsDone);
  const orders = request.conditional.map((_, image) => orderOf(request, image));
  const tokens = from.tokens.map((values) => values.slice());
  let guidance: readonly Float32Array[] = [];
  for (const [index, run] of runs.entries()) {
    if (run.from < start) continue;
    const later = runs.slice(index + 1);
    const refresh = later.findIndex(({ reusesGuidance }) => !reusesGuidance);
    const ahead = run.reusesGuidance ? [] : later.slice(0, refresh === -1 ? later.length : refresh);
    const pictures = orders.map((order, image) => {
      return pictureOf(request, { image, order, run, ahead, tokens, guidance: guidance[image] });
    });
    const results = await member.take(pictures, signal);
    for (const times of new Set(results.map((result) => result.times)))
      onStage?.({ kind: "steps", from: run.from, to: run.to, ...times });
    for (const [image, { predicted }] of pictures.entries()) {
      // The other steps could not mend the picture.
      place(requireFinite(results[image]?.latents ?? new Float32Array(0), "latents"), predicted, tokens[image]);
    }
    guidance = results.map((result) => result.guidance);
    yield {
      stepsDone: run.to,
      totalSteps: schedule.length,
      tokens: tokens.map((values) => values.slice()),
      known: orders.map((order) => knownAfter(order, run)),
    };
  }
}

interface SamplingOptions {
  readonly from: MarState;
  readonly signal: AbortSignal;
  /** Alone unless given. */
  readonly member?: StepMember | undefined;
  readonly onStage?: OnStage | undefined;
}

/** The places of a picture as they become known, from the end to the start. Kept ones stand where known ones are. */
function orderOf({ grid, kept, randomness }: MarRequest, image: number): Uint32Array {
  const order = randomness.order(image, tokenCountOf(grid));
  if (kept?.isKept === undefined) return order;
  const isKept = (place: number): boolean => kept.isKept?.[place] === 1;
  return Uint32Array.from([...order.filter((place) => !isKept(place)), ...order.filter(isKept)]);
}

interface PictureState {
  readonly image: number;
  readonly order: Uint32Array;
  readonly run: StepRun;
  /** The runs after it for which it sets guidance aside. */
  readonly ahead: readonly StepRun[];
  readonly tokens: readonly Float32Array[];
  /** What was set aside, beginning with the places of this run. */
  readonly guidance: Float32Array | undefined;
}

function pictureOf(request: MarRequest, { image, order, run, ahead, tokens, guidance }: PictureState): StepPicture {
  const { conditional, unconditional, canvas, grid, diffusionSteps, temperature } = request;
  const [first] = run.steps;
  const last = run.steps.at(-1);
  const prompt = conditional[image];
  const values = tokens[image];
  if (first === undefined || last === undefined) throw new RangeError("a run of no steps");
  if (prompt === undefined || values === undefined) throw new RangeError(`there is no picture ${image}`);
  return {
    grid,
    diffusionSteps,
    diffusionShare: run.diffusionShare,
    visible: placesOfStep(order, first).visible,
    predicted: predictedBy([run], order),
    ahead: predictedBy(ahead, order),
    tokens: values,
    conditional: prompt,
    unconditional: run.reusesGuidance ? undefined : unconditional[image],
    guidance: run.reusesGuidance ? guidance : undefined,
    canvas,
    guidanceScale: guidanceScaleAt(last, {
      scale: request.guidanceScale,
      schedule: request.guidanceSchedule,
      tokenCount: order.length - (request.kept?.count ?? 0),
    }),
    temperature,
    fillNoise: noiseOf(request, { image, order, run }),
  };
}

/** Grid places, those of earlier steps first. */
const predictedBy = (runs: readonly StepRun[], order: Uint32Array): Uint32Array =>
  Uint32Array.from(runs.flatMap(({ steps }) => steps.flatMap((step) => [...placesOfStep(order, step).predicted])));

/** Every token has the noise of its own step, however many steps a run takes at once. */
function noiseOf(
  { randomness }: MarRequest,
  { image, order, run }: Pick<PictureState, "image" | "order" | "run">,
): StepPicture["fillNoise"] {
  const parts = run.steps.map((step) => ({ step: step.step, places: placesOfStep(order, step).predicted }));
  const tokens = run.steps.reduce((sum, { predicted }) => sum + predicted, 0);
  return (out, draw) => {
    const channels = out.length / tokens;
    let offset = 0;
    for (const { step, places } of parts) {
      const own = out.subarray(offset, offset + places.length * channels);
      randomness.fillNoise(own, { image, step, draw, places });
      offset += own.length;
    }
  };
}

/** Writes rows of `latents` [places, C] to their places in `tokens` [N, C]. */
function place(latents: Float32Array, places: Uint32Array, tokens: Float32Array | undefined): void {
  const channels = latents.length / places.length;
  for (const [row, target] of places.entries()) {
    tokens?.set(latents.subarray(row * channels, (row + 1) * channels), target * channels);
  }
}

/** 1 where a place is known after the run: [N] */
function knownAfter(order: Uint32Array, { steps }: StepRun): Uint8Array {
  const known = new Uint8Array(order.length);
  const last = steps.at(-1);
  const count = last === undefined ? 0 : last.visible + last.predicted;
  for (const each of order.subarray(order.length - count)) known[each] = 1;
  return known;
}
