/**
 * How long will it take? Learned from what ran: milliseconds of a worker for each kind of work, alone and in groups. What
 * never ran is taken to last as long as its effort does at the going rate. Steers whose turn it is, never what is paid.
 */
import { type Task, workOf } from "../generation/settings.ts";
import { effortOf } from "../quota/tariff.ts";

/** Part of the newest duration in what is expected: about the last ten count. */
const NEWEST_PART = 0.2;
/** Before anything ran: milliseconds of a millionth of a unit of effort. */
const GUESSED_RATE = 0.001;

export interface PredictedWork {
  readonly preset: string;
  readonly task: Task;
  /** Pictures that are drawn together with it, its own included. */
  readonly groupPictures: number;
}

export class Durations {
  private readonly known = new Map<string, number>();
  private rate: number | undefined;

  /** Milliseconds of a worker for its own part of what is drawn together. */
  predict(work: PredictedWork): number {
    return this.known.get(keyOf(work)) ?? Number(effortOf(workOf(work.task))) * (this.rate ?? GUESSED_RATE);
  }

  /** It took so many milliseconds, from its first step to its last. */
  learn(work: PredictedWork, ms: number): void {
    const key = keyOf(work);
    this.known.set(key, average(this.known.get(key), ms));
    this.rate = average(this.rate, ms / Number(effortOf(workOf(work.task))));
  }
}

const average = (known: number | undefined, newest: number): number =>
  known === undefined ? newest : known + NEWEST_PART * (newest - known);

function keyOf({ preset, task: { kind, settings }, groupPictures }: PredictedWork): string {
  if (kind === "IMAGE_TO_TEXT") return [preset, kind, settings.size, settings.maxTokens].join(" ");
  const { width, height, steps, speed, count } = settings;
  return [preset, kind, width, height, steps, speed, count, groupPictures].join(" ");
}
