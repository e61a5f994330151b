/** What decides and remembers in a simulation: the scheduler's own code, over arrays or over a database. */
import type { GenerationState } from "../../src/generated/prisma/enums.ts";
import type { Wanted } from "./scenario.ts";

/** A worker without anything to do. */
export interface IdleWorkerOf {
  readonly name: string;
  readonly presets: readonly string[];
  readonly slots: number;
}

/** An attempt that begins. */
export interface Begun {
  readonly id: string;
  readonly worker: string;
  /** Pictures that are drawn together with it, its own included. */
  readonly groupPictures: number;
}

/** How an attempt ends. */
export interface AttemptEnd {
  readonly outcome: "DONE" | "REFUSED" | "CANCELED" | "YIELDED" | "LOST";
  readonly stepsDone: number;
  /** For which its group held the worker. */
  readonly heldMs: number;
  /** It ran to its end from the beginning. */
  readonly isWhole: boolean;
  /** Of one that was lost: it counts as one that failed. */
  readonly counts: boolean;
}

export interface World {
  /** It is asked for. */
  queue(wanted: Wanted): void | Promise<void>;
  /** Groups that start, each on one of these workers. */
  claim(
    idle: readonly IdleWorkerOf[],
    now: number,
  ): readonly (readonly Begun[])[] | Promise<readonly (readonly Begun[])[]>;
  /** Tenants that have something waiting which BATCH gives way to; up to `max`. */
  countForeground(max: number, now: number): number | Promise<number>;
  /** @returns the state that follows; QUEUED where it shall run again */
  end(begun: Begun, end: AttemptEnd): GenerationState | Promise<GenerationState>;
  /** What waits is canceled, or its deadline passes. */
  drop(wanted: Wanted, state: "CANCELED" | "EXPIRED"): void | Promise<void>;
  /** A pause before another attempt begins and ends. Worlds without pauses have none. */
  readonly pauses?: { begin(wanted: Wanted): void; end(wanted: Wanted): void };
}
