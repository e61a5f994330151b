/** The story of a generation, for people who look for what went wrong. */
import type { Fault } from "./faults.ts";
import type { Asked } from "./load.ts";
import type { GenerationRecord } from "./records.ts";

const AROUND_MS = 15_000;

export function historyOf(record: GenerationRecord, asked: Asked | undefined, faults: readonly Fault[]): string {
  const { milestones, attempts } = record;
  const [first = 0, last = 0] = [milestones[0], milestones.at(-1)].map((one) => Date.parse(one?.at ?? ""));
  const near = faults.filter(({ at, until }) => until > first - AROUND_MS && at < last + AROUND_MS);
  const lines: [number, string][] = [
    ...milestones.map(({ at, seq, kind, attempt, state, message }): [number, string] => [
      Date.parse(at),
      `milestone ${seq} ${kind} attempt ${attempt} ${state} ${message ?? ""}`,
    ]),
    ...attempts.map((attempt): [number, string] => [
      Date.parse(attempt.started_at),
      `attempt ${JSON.stringify(attempt)}`,
    ]),
    ...near.map(({ at, until, kind, target }): [number, string] => [at, `fault: ${kind}, ${target}, ${until - at} ms`]),
    ...(asked?.watcher.milestones ?? []).map(({ at, seq, kind, api }): [number, string] => [
      at,
      `client told ${seq} ${kind} by api-${api}`,
    ]),
  ];
  const sorted = lines.sort(([a], [b]) => a - b);
  return sorted.map(([at, text]) => `    ${new Date(at).toISOString().slice(11, 23)} ${text}`).join("\n");
}
