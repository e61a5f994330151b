/**
 * Two ways of doing the same, measured against each other on a machine that others use too: only what ran at nearly the
 * same moment is compared, and CPU time counts before wall time.
 */

export interface Cost {
  readonly wallMs: number;
  readonly cpuMs: number;
}

/** Does its work `times` times and says what all of them cost together. */
export type Contender = (times: number) => Promise<Cost>;

export interface Comparison {
  /** Pairs that were kept. */
  readonly pairs: number;
  /** Pairs of rounds whose calibration was slow: somebody else had the processor. */
  readonly discarded: number;
  /** Medians of one run. */
  readonly ours: Cost;
  readonly theirs: Cost;
  /** Median of theirs / ours over the pairs, its 95 % interval, and the ratio of the smallest costs. CPU time. */
  readonly ratio: number;
  readonly interval: readonly [number, number];
  readonly ratioOfMinima: number;
}

export interface ComparisonOptions {
  readonly ours: Contender;
  readonly theirs: Contender;
  /** The same small work in every round, which tells a disturbed round from a quiet one. */
  readonly calibration: Contender;
  readonly pairs: number;
  /** CPU time of one slice. */
  readonly sliceMs: number;
}

/** A round whose calibration takes longer than this many times the shortest one is discarded. */
const DISTURBED = 1.5;
const RESAMPLES = 2000;

interface Round {
  readonly calibrationMs: number;
  readonly pairs: readonly { readonly ours: Cost; readonly theirs: Cost }[];
}

/** Rounds of ours, theirs, theirs, ours: two pairs each, so that a drift of the machine favours nobody. */
export async function compare(options: ComparisonOptions): Promise<Comparison> {
  const { calibration } = options;
  const ours = await sliceOf(options.ours, options.sliceMs);
  const theirs = await sliceOf(options.theirs, options.sliceMs);
  await calibration(1);
  const rounds: Round[] = [];
  for (let done = 0; done < options.pairs; done += 2) {
    const { cpuMs: calibrationMs } = await calibration(1);
    const first = await ours();
    const second = await theirs();
    const third = await theirs();
    const last = await ours();
    rounds.push({
      calibrationMs,
      pairs: [
        { ours: first, theirs: second },
        { ours: last, theirs: third },
      ],
    });
  }
  return summaryOf(rounds);
}

/** Warms up, finds how many runs fill a slice, and returns a slice: the cost of one run in it. */
async function sliceOf(contender: Contender, sliceMs: number): Promise<() => Promise<Cost>> {
  await contender(2);
  const { cpuMs } = await contender(2);
  const times = Math.max(1, Math.round(sliceMs / (cpuMs / 2)));
  await contender(times);
  return async () => {
    const cost = await contender(times);
    return { wallMs: cost.wallMs / times, cpuMs: cost.cpuMs / times };
  };
}

function summaryOf(rounds: readonly Round[]): Comparison {
  const best = Math.min(...rounds.map(({ calibrationMs }) => calibrationMs));
  const kept = rounds.filter(({ calibrationMs }) => calibrationMs <= DISTURBED * best);
  const pairs = kept.flatMap((round) => round.pairs);
  const ratios = pairs.map(({ ours, theirs }) => theirs.cpuMs / ours.cpuMs);
  const smallest = (side: "ours" | "theirs"): number => Math.min(...pairs.map((pair) => pair[side].cpuMs));
  const medianCost = (side: "ours" | "theirs"): Cost => ({
    wallMs: median(pairs.map((pair) => pair[side].wallMs)),
    cpuMs: median(pairs.map((pair) => pair[side].cpuMs)),
  });
  return {
    pairs: pairs.length,
    discarded: 2 * (rounds.length - kept.length),
    ours: medianCost("ours"),
    theirs: medianCost("theirs"),
    ratio: median(ratios),
    interval: bootstrap(ratios),
    ratioOfMinima: smallest("theirs") / smallest("ours"),
  };
}

/** The middle 95 % of medians of resampled values. */
function bootstrap(values: readonly number[]): readonly [number, number] {
  let state = 1;
  const pick = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0; // numbers that are the same every time will do
    return values[Math.floor((state / 2 ** 32) * values.length)] ?? 0;
  };
  const medians = Array.from({ length: RESAMPLES }, () => median(values.map(pick))).sort((a, b) => a - b);
  return [medians[Math.floor(RESAMPLES * 0.025)] ?? 0, medians[Math.floor(RESAMPLES * 0.975)] ?? 0];
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? 0) + upper) / 2;
}

/** Runs `work` in this process and says what it cost. */
export const inThisProcess =
  (work: () => Promise<unknown>): Contender =>
  async (times) => {
    const startedAt = performance.now();
    const cpu = process.cpuUsage();
    for (let i = 0; i < times; i++) await work();
    const { user, system } = process.cpuUsage(cpu);
    return { wallMs: performance.now() - startedAt, cpuMs: (user + system) / 1000 };
  };
