/** Outcomes added up, for people and for tests. */
import type { Outcome } from "./evaluation.ts";

export interface Tally {
  readonly all: number;
  /** As in GenEval: what is asked for is there; counts are exact. */
  readonly right: number;
  /** Right, with nothing else in the picture. */
  readonly pure: number;
}

/** By group, in the order in which they came. */
export function tally(outcomes: readonly Outcome[]): ReadonlyMap<string, Tally> {
  const groups = [...new Set(outcomes.map(({ group }) => group))];
  return new Map(
    groups.map((name) => {
      const verdicts = outcomes.filter(({ group }) => group === name).flatMap((outcome) => outcome.verdicts);
      const count = (is: "isRight" | "isPure"): number => verdicts.filter((verdict) => verdict[is]).length;
      return [name, { all: verdicts.length, right: count("isRight"), pure: count("isPure") }];
    }),
  );
}

/** Mean of the groups' shares of right ones, as GenEval has it. */
export function meanShare(tallies: ReadonlyMap<string, Tally>): number {
  const shares = [...tallies.values()].map(({ right, all }) => right / all);
  return shares.reduce((sum, share) => sum + share, 0) / shares.length;
}

/** Lines of a table: each group, the mean, and what went wrong most often. */
export function formatScore(title: string, outcomes: readonly Outcome[]): string {
  const share = ({ right, all }: Pick<Tally, "right" | "all">): string =>
    `${right}/${all} (${((100 * right) / all).toFixed(0)} %)`;
  const tallies = tally(outcomes);
  const rows = [...tallies].map(
    ([name, { right, pure, all }]) =>
      `  ${name.padEnd(20)}${share({ right, all }).padEnd(18)}nothing else: ${share({ right: pure, all })}`,
  );
  const wrong = outcomes
    .map(({ text, said, verdicts }) => ({ text, said, count: verdicts.filter(({ isRight }) => !isRight).length }))
    .filter(({ count }) => count > 0)
    .sort((a, b) => b.count - a.count)
    .slice(0, SHOWN)
    .map(({ text, said, count }) => `  ${count} wrong: ${text}${said === undefined ? "" : ` (said: ${said})`}`);
  return [title, ...rows, `  ${"mean".padEnd(20)}${meanShare(tallies).toFixed(3)}`, ...wrong].join("\n");
}

const SHOWN = 20;
