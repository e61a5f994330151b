/**
 * Which workers shall make room? BATCH gives way to everything else: what runs of it yields after its current step, keeps what
 * it has, and goes on later. A pure decision, like the turns.
 */
import type { Priority } from "../generated/prisma/enums.ts";

/** What runs on one worker together. */
export interface RunningMember {
  readonly priority: Priority;
  /** When it was asked for. */
  readonly createdAt: Date;
  /** Steps, or tokens of an answer, that are left at most. */
  readonly stepsLeft: number;
  readonly isAskedToYield: boolean;
}

export interface WaitingWork {
  /** How many could start now and are not BATCH, or are no longer treated so. */
  readonly count: number;
  readonly now: Date;
  readonly ageingMs: number;
}

/** In its last step it is done as soon as it could yield. */
const MIN_STEPS_LEFT = 2;

/**
 * Groups that shall yield: no more than what waits needs, those with most left to do first. Ones that were asked before make
 * room already; BATCH that has aged is as good as what waits.
 */
export function groupsToYield<Member extends RunningMember>(
  groups: readonly (readonly Member[])[],
  { count, now, ageingMs }: WaitingWork,
): readonly (readonly Member[])[] {
  const givesWay = ({ priority, createdAt, stepsLeft }: Member): boolean =>
    priority === "BATCH" && now.getTime() - createdAt.getTime() < ageingMs && stepsLeft >= MIN_STEPS_LEFT;
  const leftOf = (group: readonly Member[]): number => Math.max(...group.map(({ stepsLeft }) => stepsLeft));
  const asked = groups.filter((group) => group.some(({ isAskedToYield }) => isAskedToYield));
  return groups
    .filter((group) => group.length > 0 && !asked.includes(group) && group.every(givesWay))
    .sort((a, b) => leftOf(b) - leftOf(a))
    .slice(0, Math.max(0, count - asked.length));
}
