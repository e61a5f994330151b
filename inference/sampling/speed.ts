/**
 * Speeds: named approximations that make a drawing cheaper. Each is a schedule that follows from the number of steps
 * alone, so that drawings of one speed can share their steps and a resumed drawing gives the same picture.
 *
 * - Context reuse: several steps predict their tokens from what encoder, language model and decoder make of the tokens
 *   known before the first of them. After refreshing at every k-th step in ReCAP (arXiv 2505.19089) and LazyMAR
 *   (arXiv 2503.12450); what those compute between two refreshes is left out.
 * - Guidance cache: how the conditional and the unconditional branch differ at a place is taken from the refresh before
 *   (the "condition cache" of LazyMAR), so the unconditional branch is not computed.
 * - Diffusion annealing: the more of a picture is known, the fewer steps its diffusion needs (DiSA, arXiv 2505.20297).
 */
import type { MaskStep } from "./mask-schedule.ts";

export const SPEEDS = ["exact", "fast", "faster"] as const;
export type Speed = (typeof SPEEDS)[number];

/** What each gains and costs, for whoever chooses. The figures are those of docs/speeds.md. */
export const SPEED_DESCRIPTIONS: Readonly<Record<Speed, string>> = {
  exact: "What the model computes, without approximation.",
  fast: "Less than half the computation. On the tiny preset as many pictures are right as with EXACT.",
  faster: "A fifth of the computation of a large picture. On the tiny preset as many pictures are right as with EXACT.",
};

/** MAR steps that are taken at once. */
export interface StepRun {
  readonly steps: readonly MaskStep[];
  /** Steps before its first and after its last one. */
  readonly from: number;
  readonly to: number;
  /** Share of the diffusion steps, up to 1. */
  readonly diffusionShare: number;
  /** The unconditional branch is not computed: an earlier run has set aside what takes its place. */
  readonly reusesGuidance: boolean;
}

interface Approximation {
  /** Steps that share a context. */
  readonly stepsPerContext: number;
  /** Contexts of which only the first one computes the unconditional branch too. */
  readonly contextsPerGuidance: number;
  /** Share of the diffusion steps at the first and at the last step; linear between. */
  readonly diffusionShares: readonly [number, number];
}

/** What they gain and cost is measured in docs/speeds.md. DiSA itself goes from 50 to 5 of 100 steps, as "faster" does. */
const APPROXIMATIONS: Record<Speed, Approximation> = {
  exact: { stepsPerContext: 1, contextsPerGuidance: 1, diffusionShares: [1, 1] },
  fast: { stepsPerContext: 2, contextsPerGuidance: 1, diffusionShares: [0.6, 0.2] },
  faster: { stepsPerContext: 4, contextsPerGuidance: 2, diffusionShares: [0.5, 0.05] },
};

/** @param isGuided whether there is an unconditional branch at all */
export function stepRuns(steps: readonly MaskStep[], speed: Speed, isGuided: boolean): readonly StepRun[] {
  const { stepsPerContext, contextsPerGuidance, diffusionShares } = APPROXIMATIONS[speed];
  const [first, last] = diffusionShares;
  return Array.from({ length: Math.ceil(steps.length / stepsPerContext) }, (_, index) => {
    const from = index * stepsPerContext;
    const to = Math.min(steps.length, from + stepsPerContext);
    return {
      steps: steps.slice(from, to),
      from,
      to,
      diffusionShare: first + (last - first) * (from / Math.max(1, steps.length - 1)),
      reusesGuidance: isGuided && index % contextsPerGuidance !== 0,
    };
  });
}

/**
 * Where a drawing goes on that stood after `stepsDone` steps: at the last run from there back that needs nothing but
 * tokens. What is repeated gives the same tokens again.
 */
export function resumeStep(runs: readonly StepRun[], stepsDone: number): number {
  const possible = runs.filter(({ from, reusesGuidance }) => from <= stepsDone && !reusesGuidance);
  const isComplete = runs.every(({ to }) => to <= stepsDone);
  return isComplete ? stepsDone : (possible.at(-1)?.from ?? 0);
}
