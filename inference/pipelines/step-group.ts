/**
 * Requests that take their steps together: a step runs once every member has asked for its next one, and pictures that
 * fit share its graph runs. A member that ends, fails or is cancelled leaves, and the others go on.
 */
import type { LoadedModel } from "../runtime/loaded-model.ts";
import { MarStep, type StepPicture, type StepResult, shareRuns } from "./mar-step.ts";

/** The part of one request; whoever joined must leave, however the request ends, for the others wait for it. */
export interface StepMember {
  /**
   * The next step of these pictures. Aborting rejects at once; a graph run that is under way goes on, and so do the
   * others.
   */
  take(pictures: readonly StepPicture[], signal: AbortSignal): Promise<readonly StepResult[]>;
  leave(): void;
}

/** A step that a member waits for. */
interface Turn {
  readonly pictures: readonly StepPicture[];
  readonly signal: AbortSignal;
  /** The step ended, or the member does not wait any more. */
  isSettled: boolean;
  resolve(results: readonly StepResult[]): void;
  reject(reason: unknown): void;
}

export class StepGroup {
  /** What each member waits for. */
  private readonly turns = new Map<StepMember, Turn | undefined>();
  private readonly step: MarStep;
  private isRunning = false;

  constructor(private readonly model: LoadedModel) {
    this.step = new MarStep(model);
  }

  join(): StepMember {
    const member: StepMember = {
      take: (pictures, signal) =>
        new Promise((resolve, reject) => this.ask(member, turnOf({ pictures, signal, resolve, reject }))),
      leave: () => {
        this.turns.delete(member);
        void this.run();
      },
    };
    this.turns.set(member, undefined);
    return member;
  }

  private ask(member: StepMember, turn: Turn): void {
    this.turns.set(member, turn);
    void this.run();
  }

  /** Runs steps as long as every member waits for one. Never rejects: errors go to the members. */
  private async run(): Promise<void> {
    if (this.isRunning) return;
    this.isRunning = true;
    for (let turns = this.nextTurns(); turns.length > 0; turns = this.nextTurns()) {
      await this.runStep(turns).catch((error) => rejectAll(turns, error));
    }
    this.isRunning = false;
  }

  /** Empty while a member does something else. */
  private nextTurns(): readonly Turn[] {
    const turns = [...this.turns.values()];
    if (!turns.every((turn) => turn !== undefined)) return [];
    for (const member of this.turns.keys()) this.turns.set(member, undefined);
    return turns;
  }

  private async runStep(turns: readonly Turn[]): Promise<void> {
    const parts = turns.flatMap((turn) => turn.pictures.map((picture) => ({ turn, picture })));
    const done = new Map<StepPicture, StepResult>();
    const runs = shareRuns(
      parts.map(({ picture }) => picture),
      this.model.manifest.dimensions.bufferTokens,
    );
    for (const indices of runs) {
      const sharing = indices.flatMap((index) => parts[index] ?? []).filter(({ turn }) => !turn.isSettled);
      if (sharing.length === 0) continue;
      const pictures = sharing.map(({ picture }) => picture);
      const sharers = new Set(sharing.map(({ turn }) => turn));
      try {
        const results = await this.step.take(
          pictures,
          [...sharers].map(({ signal }) => signal),
        );
        for (const [i, result] of results.entries()) if (pictures[i] !== undefined) done.set(pictures[i], result);
        for (const turn of sharers) settleIfComplete(turn, done);
      } catch (error) {
        rejectAll(sharers, error);
      }
    }
  }
}

function settleIfComplete(turn: Turn, done: ReadonlyMap<StepPicture, StepResult>): void {
  const own = turn.pictures.flatMap((picture) => done.get(picture) ?? []);
  if (own.length === turn.pictures.length) turn.resolve(own);
}

function rejectAll(turns: Iterable<Turn>, error: unknown): void {
  for (const turn of turns) turn.reject(error);
}

function turnOf({ pictures, signal, resolve, reject }: Omit<Turn, "isSettled">): Turn {
  const settle = (): void => {
    turn.isSettled = true;
    signal.removeEventListener("abort", abort);
  };
  const abort = (): void => turn.reject(signal.reason);
  const turn: Turn = {
    pictures,
    signal,
    isSettled: false,
    resolve(results) {
      settle();
      resolve(results);
    },
    reject(reason) {
      settle();
      reject(reason);
    },
  };
  if (signal.aborted) abort();
  else signal.addEventListener("abort", abort);
  return turn;
}
