/**
 * How long will it take? Learned from what ran: milliseconds of a worker for each kind of work, alone and in groups. What
 * never ran is taken to last as long as its effort does at the going rate. Steers whose turn it is and what is expected,
 * never what is paid.
 */
import { type Task, workOf } from "../generation/settings.ts";
import { effortOf } from "../quota/tariff.ts";

/**
 * Durations of a kind of work that count, the newest ones: their mean without the longest, which is often that of a worker that
 * had just started.
 */
const COUNTED = 10;
/** Before anything ran: milliseconds of a millionth of a unit of effort. */
const GUESSED_RATE = 0.001;
/** Those that were learned last are known: settings are the callers' choice, and there is no end of them. */
export const MAX_KNOWN = 2000;

export interface PredictedWork {
  readonly preset: string;
  readonly task: Task;
  /** Pictures that are drawn together with it, its own included. */
  readonly groupPictures: number;
}

/** As it is stored. */
export interface LearnedDuration {
  /** Which work; or which task of a preset, whose rate it is. */
  readonly key: string;
  /** Of a worker for the work; or for a millionth of a unit of effort. */
  readonly ms: number;
}

export class Durations {
  /** Those that were learned last stand last. */
  private readonly known = new Map<string, readonly number[]>();
  /** Learned since they were last taken. */
  private readonly learned = new Set<string>();

  /** Milliseconds of a worker for its own part of what is drawn together. */
  predict(work: PredictedWork): number {
    return this.expected(keyOf(work)) ?? effort(work) * (this.expected(rateKeyOf(work)) ?? GUESSED_RATE);
  }

  /** Whether something of its task has run with its preset, so that a prediction is more than a guess. */
  hasLearned(work: PredictedWork): boolean {
    return this.known.has(rateKeyOf(work));
  }

  /** It took so many milliseconds, from its first step to its last. */
  learn(work: PredictedWork, ms: number): void {
    this.note(keyOf(work), ms);
    this.note(rateKeyOf(work), ms / effort(work));
  }

  /** What an earlier leader of the pool learned; what was learned here since is newer. */
  restore(durations: readonly LearnedDuration[]): void {
    for (const { key, ms } of durations) if (!this.learned.has(key)) this.known.set(key, [ms]);
  }

  /** What was learned since this was last called. */
  takeLearned(): readonly LearnedDuration[] {
    const taken = [...this.learned].flatMap((key) => {
      const ms = this.expected(key);
      return ms === undefined ? [] : [{ key, ms }];
    });
    this.learned.clear();
    return taken;
  }

  private expected(key: string): number | undefined {
    const durations = this.known.get(key);
    if (durations === undefined) return undefined;
    const counted = durations.toSorted((a, b) => a - b).slice(0, Math.max(1, durations.length - 1));
    return counted.reduce((sum, ms) => sum + ms, 0) / counted.length;
  }

  private note(key: string, newest: number): void {
    const before = this.known.get(key) ?? [];
    this.known.delete(key);
    this.known.set(key, [...before, newest].slice(-COUNTED));
    this.learned.add(key);
    if (this.known.size <= MAX_KNOWN) return;
    const [oldest] = this.known.keys();
    if (oldest !== undefined) this.known.delete(oldest);
  }
}

const effort = ({ task }: PredictedWork): number => Number(effortOf(workOf(task)));

const rateKeyOf = ({ preset, task: { kind } }: PredictedWork): string => `${preset} ${kind}`;

function keyOf({ preset, task: { kind, settings }, groupPictures }: PredictedWork): string {
  if (kind === "IMAGE_TO_TEXT") return [preset, kind, settings.size, settings.maxTokens].join(" ");
  const { width, height, steps, speed, count } = settings;
  return [preset, kind, width, height, steps, speed, count, groupPictures].join(" ");
}
