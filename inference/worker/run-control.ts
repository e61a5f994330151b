import type { OnStage } from "../pipelines/stages.ts";
import type { StepMember } from "../pipelines/step-group.ts";
import type { RunEvent } from "./compute-protocol.ts";

/** What a run on the computing thread has to do with the world. */
export interface RunControl {
  readonly signal: AbortSignal;
  /** Where an earlier attempt stood. */
  readonly checkpoint: Uint8Array | undefined;
  /** Its part in the group with which it takes its steps; an answer has none. */
  readonly member: StepMember | undefined;
  /** Of that group; 1 for an answer. */
  readonly groupSize: number;
  /** Resolves when it may compute. What does without the model comes before, so that it is done while others compute. */
  turn(): Promise<void>;
  /** Whether to stop after the step, with a checkpoint. */
  shouldYield(): boolean;
  emit(event: RunEvent): void;
  /** Undefined unless somebody traces it. */
  readonly onStage: OnStage | undefined;
}

export type Outcome = "done" | "yielded";
