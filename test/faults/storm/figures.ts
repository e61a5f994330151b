/** How long what was hit took to go on. Times are of this machine and what else it does: printed, and never judged. */
import { type Fault, isKill } from "./faults.ts";
import type { Load } from "./load.ts";
import { type Move, movesOf, storyOf } from "./moves.ts";
import type { Verdict } from "./verdict.ts";
import type { World } from "./world.ts";

/** What was killed needs so long to start. */
const START_MS = 10_000;
const MAX_ERRORS = 15;
/** What took longer is told one by one. */
const SLOW_MS = 15_000;

/** The lines to print. */
export function figuresOf(world: World, load: Load, faults: readonly Fault[], verdict: Verdict): readonly string[] {
  const { records, pictures } = verdict;
  const counts = countBy(faults.map(({ kind }) => kind));
  const states = countBy(records.generations.map(({ state }) => state));
  const outcomes = countBy(
    records.generations.flatMap(({ attempts }) => attempts.map((one) => one.failure_class ?? one.outcome ?? "none")),
  );
  const watchers = load.asked.map(({ watcher }) => watcher);
  const sum = (numbers: readonly number[]): number => numbers.reduce((total, one) => total + one, 0);
  const calm = (all: readonly Move[]) => all.filter(({ hadDispatcher }) => hadDispatcher).map(({ ms }) => ms);
  const resumed = watchers.flatMap((watcher) => watcher.resumed);
  const isCalm = ({ at, ms }: { at: number; ms: number }): boolean =>
    !faults.some(
      (fault) =>
        /api|postgres|rolling/.test(`${fault.kind} ${fault.target}`) &&
        fault.at !== at &&
        fault.at < at + ms &&
        fault.until > at - START_MS,
    );
  const [killed = [], frozen = []] = ["kill worker", "freeze worker"].map((kind) =>
    movesOf(kind, world, faults, verdict),
  );
  const slow = [...killed, ...frozen].filter(({ ms }) => ms > SLOW_MS);
  return [
    `faults: ${faults.filter(({ kind }) => isKill(kind)).length} kills and freezes of ${faults.length}: ${counts}`,
    `generations: ${records.generations.length} (${load.batches.length} batches): ${states}`,
    `attempts by end: ${outcomes}`,
    `uploads: ${load.asked.filter(({ uploadId }) => uploadId !== undefined).length} that something was made of`,
    `pictures: ${pictures.read} read, ${pictures.identical} byte for byte those of an undisturbed run`,
    `clients: ${sum(watchers.map(({ sockets }) => sockets))} sockets for ${watchers.length} subscriptions, ${sum(watchers.map(({ milestones }) => milestones.length))} milestones, ${sum(watchers.map(({ frames }) => frames))} frames, ${load.asking.retries} calls repeated`,
    `worker killed -> its generations run again: ${quantiles(killed.map(({ ms }) => ms))}`,
    `  of these, with a dispatcher and a database all the time: ${quantiles(calm(killed))}`,
    `  and not of the class BATCH, which waits for all others: ${quantiles(calm(killed.filter(({ record }) => record.priority !== "BATCH")))}`,
    `worker frozen -> its generations run again: ${quantiles(frozen.map(({ ms }) => ms))}`,
    ...slow.map((move) => `  ${storyOf(move, records.generations, faults)}`),
    `API killed -> its clients are connected again: ${quantiles(resumed.map(({ ms }) => ms))}`,
    `  of these, with the other API and the database all the time: ${quantiles(resumed.filter(isCalm).map(({ ms }) => ms))}`,
    ...frequent(world.errors()),
  ];
}

function frequent(errors: ReadonlyMap<string, number>): readonly string[] {
  const sorted = [...errors].sort(([, a], [, b]) => b - a).slice(0, MAX_ERRORS);
  return ["logged as errors by the servers:", ...sorted.map(([what, count]) => `  ${count} x ${what}`)];
}

function countBy(names: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return [...counts].map(([name, count]) => `${name} ${count}`).join(", ");
}

function quantiles(all: readonly number[]): string {
  const sorted = [...all].sort((a, b) => a - b);
  if (sorted.length === 0) return "none";
  const at = (share: number): string =>
    ((sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN) / 1000).toFixed(1);
  return `p50 ${at(0.5)} s, p99 ${at(0.99)} s, longest ${at(1)} s (${sorted.length})`;
}
