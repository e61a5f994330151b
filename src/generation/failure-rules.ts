/** What follows from a failed attempt: the only place that says which failures count, and how long the pause is. */
import { createHash } from "node:crypto";
import type { AttemptOutcome, FailureClass } from "../generated/prisma/enums.ts";

/** Attempts that may fail before a generation is given up. */
export const MAX_ATTEMPTS = 3;
/** Failures of workers while they ran a generation; from then on it has no excuse. */
export const MAX_EXCUSED = 8;
/** So often something else may be to blame, half an hour of pauses at most: then it counts, so that nothing is tried for ever. */
export const MAX_FREE = 50;
/** At most by this part a pause is longer than it need be, so that not all come back at once. */
const JITTER = 0.25;

interface FailureRule {
  readonly outcome: AttemptOutcome;
  /** The generation has failed: a repeat would, too. */
  readonly isFinal: boolean;
  /** It is one of MAX_ATTEMPTS; LATE: not the first MAX_FREE times. */
  readonly counts: "ALWAYS" | "LATE" | "NEVER";
  /** In company, nobody can tell whose failure it is: it counts for none, and they are told apart. */
  readonly isShared: boolean;
  /** A generation that got further than its attempts before is not to blame. */
  readonly isExcusedByProgress: boolean;
  /** SUSPECT: it is at fault if different generations fail there. FAULTY: whatever failed. STUCK: it is to be replaced, too. */
  readonly worker: "FINE" | "SUSPECT" | "FAULTY" | "STUCK";
  /** Before the next attempt; twice as long each time that it happens to a generation without excuse, up to the maximum. */
  readonly pauseMs: number;
  readonly maxPauseMs: number;
}

const FINAL = {
  outcome: "FAILED",
  isFinal: true,
  counts: "NEVER",
  isShared: false,
  isExcusedByProgress: false,
  worker: "FINE",
  pauseMs: 0,
  maxPauseMs: 0,
} as const;
/** Something else is to blame. */
const FREE = { ...FINAL, outcome: "RETURNED", isFinal: false } as const;
/** The generation may be what made the worker fail. */
const SUSPECT = {
  outcome: "FAILED",
  isFinal: false,
  counts: "ALWAYS",
  isShared: true,
  isExcusedByProgress: false,
  worker: "SUSPECT",
  pauseMs: 500,
  maxPauseMs: 30_000,
} as const;

export const FAILURE_RULES: Readonly<Record<FailureClass, FailureRule>> = {
  INVALID_INPUT: FINAL,
  CONTENT_BLOCKED: FINAL,
  MODERATION_UNAVAILABLE: { ...FREE, outcome: "FAILED", counts: "ALWAYS", pauseMs: 30_000, maxPauseMs: 600_000 },
  INTERNAL: SUSPECT,
  WORKER_LOST: { ...SUSPECT, isExcusedByProgress: true },
  WORKER_STUCK: { ...SUSPECT, isExcusedByProgress: true, worker: "STUCK" },
  NOT_TAKEN: { ...FREE, counts: "LATE", worker: "FAULTY", pauseMs: 200, maxPauseMs: 30_000 },
  SERVER: { ...FREE, pauseMs: 10_000, maxPauseMs: 300_000 }, // a full disk does not get better at once
  ORPHANED: { ...FREE, outcome: "ORPHANED", counts: "LATE" }, // it may be what ends the server
  STALE_CHECKPOINT: FREE,
};

/** An attempt that failed, as far as that decides what follows. */
export interface FailedAttempt {
  readonly failureClass: FailureClass;
  /** The next attempt goes on from further than this one did. */
  readonly hasAdvanced: boolean;
  /** Others ran with it when the worker failed. */
  readonly hadCompany: boolean;
  /** Decides the jitter: pauses of those that have it in common end together. */
  readonly key: string;
}

/** Of the same generation, before. */
export interface PastFailures {
  /** Attempts that counted. */
  readonly counted: number;
  readonly byClass: Readonly<Partial<Record<FailureClass, number>>>;
}

export interface FailureVerdict {
  readonly counts: boolean;
  /** No attempt follows. */
  readonly isLast: boolean;
  readonly pauseMs: number;
}

export function judgeFailure(attempt: FailedAttempt, past: PastFailures): FailureVerdict {
  const rule = FAILURE_RULES[attempt.failureClass];
  const hasExcuse = (rule.isShared && attempt.hadCompany) || (rule.isExcusedByProgress && attempt.hasAdvanced);
  const isExcused = hasExcuse && suspiciousFailures(past) < MAX_EXCUSED;
  const ofClass = past.byClass[attempt.failureClass] ?? 0;
  const counts =
    rule.counts === "LATE" ? ofClass >= MAX_FREE && !attempt.hadCompany : rule.counts === "ALWAYS" && !isExcused;
  const repeats = isExcused ? 0 : rule.counts === "ALWAYS" ? past.counted : ofClass;
  const pauseMs = Math.min(rule.pauseMs * 2 ** repeats, rule.maxPauseMs);
  return {
    counts,
    isLast: rule.isFinal || (counts && past.counted + 1 >= MAX_ATTEMPTS),
    pauseMs: Math.round(pauseMs * (1 + JITTER * fractionOf(attempt.key))),
  };
}

/** Failures of workers for which the generation may be to blame. */
const suspiciousFailures = ({ byClass }: PastFailures): number =>
  (Object.keys(byClass) as FailureClass[])
    .filter((failureClass) => FAILURE_RULES[failureClass].isShared)
    .reduce((sum, failureClass) => sum + (byClass[failureClass] ?? 0), 0);

/** From 0 to 1, the same of the same key. */
const fractionOf = (key: string): number => createHash("sha256").update(key).digest().readUInt32BE() / 2 ** 32;
