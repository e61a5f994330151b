/**
 * How many image tokens are unknown after each MAR step, and which ones a step predicts.
 * Source: `sample` in src/models/skywork_unipic_siglip.py (model-spec 5.4), after MaskGIT's cosine schedule.
 */

export interface MaskSchedule {
  /** Tokens of the picture. */
  readonly tokenCount: number;
  readonly steps: number;
}

/** One MAR step as the schedule sees it. */
export interface MaskStep {
  readonly step: number;
  /** Tokens already known before the step. */
  readonly visible: number;
  /** Tokens that the step predicts; at least one. */
  readonly predicted: number;
  /** The schedule's own count of tokens left unknown: guidance schedules follow it, also in the last step, which predicts all. */
  readonly scheduledMask: number;
}

/**
 * The steps that predict something, in order. With more steps than tokens some steps have nothing to predict; the
 * original crashes there, here they are left out.
 */
export function maskSteps({ tokenCount, steps }: MaskSchedule): readonly MaskStep[] {
  const result: MaskStep[] = [];
  let masked = tokenCount;
  for (let step = 0; step < steps; step++) {
    const cosine = Math.floor(tokenCount * Math.cos((Math.PI / 2) * ((step + 1) / steps)));
    const scheduledMask = Math.max(1, Math.min(masked - 1, cosine));
    const left = step === steps - 1 ? 0 : scheduledMask;
    if (masked > left) result.push({ step, visible: tokenCount - masked, predicted: masked - left, scheduledMask });
    masked = Math.min(masked, left);
  }
  return result;
}

/**
 * Grid places that a step predicts, and those known before it, in raster order. Tokens become known from the end of
 * the order towards its start.
 */
export function placesOfStep(
  order: Uint32Array,
  { visible, predicted }: MaskStep,
): { visible: Uint32Array; predicted: Uint32Array } {
  const end = order.length - visible;
  return { visible: order.slice(end).sort(), predicted: order.slice(end - predicted, end).sort() };
}
