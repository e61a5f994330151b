/** Pools for forecasts: what waits in them, and who works. */
import { Durations } from "../../src/scheduler/durations.ts";
import type { ForecastWorker, PoolState, Waiting } from "../../src/scheduler/forecast.ts";
import { keyOf } from "../../src/scheduler/queue-name.ts";
import { DRAWING } from "./drawing-settings.ts";

export const NOW = new Date("2026-01-01T12:00:00Z");
export const at = (ms: number): Date => new Date(NOW.getTime() + ms);
export const IDLE: ForecastWorker = { presets: ["tiny"], slots: 1, freeAt: NOW, runs: [] };

let count = 0;

/** Of member `a1` of tenant `a`, unless told otherwise; later than those before. */
export const waiting = (change: Partial<Waiting> & { steps?: number } = {}): Waiting => {
  const { steps = 10, ...rest } = change;
  return {
    id: `${++count}`,
    tenantId: "a",
    userId: `${rest.tenantId ?? "a"}1`,
    apiKeyId: null,
    priority: "STANDARD",
    preset: "tiny",
    task: { kind: "TEXT_TO_IMAGE", settings: { ...DRAWING, steps, prompt: "" } },
    isNew: true,
    suspicion: null,
    weight: 1,
    createdAt: at(-1_000_000 + count),
    notBefore: null,
    deadlineAt: null,
    ...rest,
  };
};

/** Of what waits, in any order of queues; a step takes 10 ms. */
export function poolOf(items: readonly Waiting[], change: Partial<PoolState> = {}): PoolState {
  const durations = new Durations();
  durations.learn({ preset: "tiny", task: waiting({ steps: 1 }).task, groupPictures: 1 }, 10);
  const queues = new Map<string, Waiting[]>();
  for (const item of items) queues.set(keyOf(item), [...(queues.get(keyOf(item)) ?? []), item]);
  const lines = [...queues.values()].map((line) => ({ queue: line[0]!, items: line, hasMore: false }));
  return {
    now: NOW,
    ageingMs: 600_000,
    turns: { floors: [], tags: [] },
    lines,
    workers: [IDLE],
    limits: [],
    durations,
    ...change,
  };
}
