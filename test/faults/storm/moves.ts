/** What became of generations whose worker was hit: how long until they ran again, and what that time went into. */
import type { Fault } from "./faults.ts";
import type { AttemptRecord, GenerationRecord } from "./records.ts";
import { placeOf, type Verdict } from "./verdict.ts";
import type { World } from "./world.ts";

/** A leader that is gone is replaced within its lease and a little more. */
const LEASE_MS = 15_000;
/** What was killed needs so long to start. */
const START_MS = 10_000;
/** In the order in which they run, as long as nothing waits too long. */
const URGENCY = ["INTERACTIVE", "STANDARD", "BATCH"];

export interface Move {
  readonly fault: Fault;
  readonly record: GenerationRecord;
  /** The one that was hit. */
  readonly attempt: AttemptRecord;
  /** Unix time of the next one's start. */
  readonly again: number;
  readonly ms: number;
  /** Somebody could see to it all the time. */
  readonly hadDispatcher: boolean;
}

/** Every generation that a worker ran when it was hit, and that had to run again. */
export function movesOf(
  kind: string,
  { workers, places }: World,
  faults: readonly Fault[],
  { records }: Verdict,
): readonly Move[] {
  return faults
    .filter((fault) => fault.kind === kind)
    .flatMap((fault) => {
      const place = places[workers.findIndex(({ name }) => name === fault.target)] ?? "";
      return records.generations.flatMap((record) => movedBy(fault, record, { place, faults }));
    });
}

function movedBy(
  fault: Fault,
  record: GenerationRecord,
  { place, faults }: { place: string; faults: readonly Fault[] },
): readonly Move[] {
  const { attempts } = record;
  return attempts.flatMap((attempt, index) => {
    const [from, to] = [Date.parse(attempt.started_at), Date.parse(attempt.ended_at ?? "")];
    const next = attempts[index + 1];
    if (placeOf(attempt.worker) !== place || from > fault.at || to < fault.at || next === undefined) return [];
    const again = Date.parse(next.started_at);
    const isInTheWay = ({ kind, target, at, until }: Fault): boolean =>
      /dispatcher|postgres|rolling/.test(`${kind} ${target}`) && at < again && until > fault.at - LEASE_MS;
    return [{ fault, record, attempt, again, ms: again - fault.at, hadDispatcher: !faults.some(isInTheWay) }];
  });
}

/** What the time of a move went into: until it was noticed, then for what ran before it, while this happened. */
export function storyOf(
  { fault, record, attempt, again, ms }: Move,
  generations: readonly GenerationRecord[],
  faults: readonly Fault[],
): string {
  const noticed = Date.parse(attempt.ended_at ?? "");
  const startedMeanwhile = generations.filter(
    ({ id, attempts }) =>
      id !== record.id && attempts.some(({ started_at: at }) => Date.parse(at) >= noticed && Date.parse(at) < again),
  );
  const urgent = startedMeanwhile.filter(
    ({ priority }) => URGENCY.indexOf(priority) < URGENCY.indexOf(record.priority),
  );
  const seconds = (of: number): string => (of / 1000).toFixed(1);
  const meanwhile = faults
    .filter((other) => other !== fault && other.at < again && other.until > fault.at - START_MS)
    .map(
      ({ kind, target, at, until }) => `${kind} (${target}) at ${seconds(at - fault.at)} for ${seconds(until - at)}`,
    );
  const waits = `waited ${seconds(again - noticed)} s, while ${startedMeanwhile.length} others started, ${urgent.length} of a more urgent class`;
  return `${seconds(ms)} s, ${record.priority}: noticed after ${seconds(noticed - fault.at)} s (${attempt.failure_class ?? attempt.outcome}), ${waits}; meanwhile ${meanwhile.join(", ") || "nothing"}`;
}
