/** The parts of a run that take time, for whoever traces it. Times are milliseconds since 1970. */

interface Took {
  readonly startedAt: number;
  readonly endedAt: number;
}

/** When a graph run of steps began, came to its diffusion, and ended; and how many pictures shared it. */
export interface StepTimes extends Took {
  readonly diffusionAt: number;
  readonly pictures: number;
}

export type Stage =
  | (Took & { readonly kind: "encode source picture" | "prefill" | "decode picture" })
  /** Those after `from` up to `to`: more than one at a time at some speeds. */
  | (StepTimes & { readonly kind: "steps"; readonly from: number; readonly to: number })
  /** Tokens of an answer. */
  | (Took & { readonly kind: "write answer"; readonly tokens: number });

export type OnStage = (stage: Stage) => void;

export const timeNow = (): number => performance.timeOrigin + performance.now();

/** Does a part of a run, and tells of it. */
export async function asStage<Result>(
  onStage: OnStage | undefined,
  kind: "encode source picture" | "prefill" | "decode picture",
  work: () => Promise<Result>,
): Promise<Result> {
  if (onStage === undefined) return work();
  const startedAt = timeNow();
  const result = await work();
  onStage({ kind, startedAt, endedAt: timeNow() });
  return result;
}
