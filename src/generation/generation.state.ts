import type { GenerationState } from "../generated/prisma/enums.ts";

/** Lifecycle of a generation, drawn in docs/state-machine.md. This table is its only copy in code. */
const NEXT: Record<GenerationState, readonly GenerationState[]> = {
  QUEUED: ["RUNNING", "CANCELED", "EXPIRED"],
  RUNNING: ["SUCCEEDED", "FAILED", "CANCELED", "DEAD_LETTERED", "QUEUED"], // QUEUED: worker lost, yielded, or retry
  SUCCEEDED: [],
  FAILED: [],
  CANCELED: [],
  EXPIRED: [],
  DEAD_LETTERED: [],
};

export const isTerminal = (state: GenerationState): boolean => NEXT[state].length === 0;

export const mayFollow = (from: GenerationState, to: GenerationState): boolean => NEXT[from].includes(to);

export const TERMINAL_STATES: readonly GenerationState[] = (Object.keys(NEXT) as GenerationState[]).filter(isTerminal);
