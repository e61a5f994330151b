/** Classifier-free guidance: how strongly each MAR step follows the prompt. */
import type { MaskSchedule, MaskStep } from "./mask-schedule.ts";

export const GUIDANCE_SCHEDULES = ["constant", "linear"] as const;
export type GuidanceSchedule = (typeof GUIDANCE_SCHEDULES)[number];

/** Guidance scale of one MAR step; "linear" grows from 1 to `scale` with the share of known tokens (model-spec 5.4 g). */
export function guidanceScaleAt(
  step: MaskStep,
  { scale, schedule, tokenCount }: { scale: number; schedule: GuidanceSchedule } & Pick<MaskSchedule, "tokenCount">,
): number {
  switch (schedule) {
    case "constant":
      return scale;
    case "linear":
      return 1 + ((scale - 1) * (tokenCount - step.scheduledMask)) / tokenCount;
  }
}
