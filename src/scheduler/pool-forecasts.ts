/**
 * Forecasts of pools, made when somebody asks and kept for a second: however many ask, a pool is read and played once.
 */
import { asDispatcher } from "../platform/access.ts";
import type { Clock } from "../platform/clock.ts";
import type { Database, Tx } from "../platform/database.ts";
import { listLive } from "../pool/worker.store.ts";
import type { LiveWorker } from "../pool/worker-pool.ts";
import { listDurations } from "./duration.store.ts";
import { Durations } from "./durations.ts";
import { listFirstOf, listFirsts, listRunning, listRunningLimits, type Running, readNow } from "./forecast.store.ts";
import { type Forecast, type ForecastWorker, forecast, type Line, type PoolState, type Waiting } from "./forecast.ts";
import { PoolForecast } from "./pool-forecast.ts";
import { keyOf, type QueueName } from "./queue-name.ts";
import { readTurns } from "./share.store.ts";

const KEPT_MS = 1000;
/** Times that more rows are read, because more of a queue start than were. */
const MAX_ROUNDS = 5;
/** Read beside those that a play reached. */
const SPARE = 16;

export interface ForecastServices {
  readonly db: Database;
  readonly clock: Clock;
  /** Of a pool that this process leads; of others, what their leader recorded counts. */
  readonly workers: (pool: string) => readonly LiveWorker[] | undefined;
  readonly ageingMs: number;
}

export class PoolForecasts {
  private readonly recent = new Map<string, { readonly readAt: number; readonly made: Promise<PoolForecast> }>();

  constructor(private readonly services: ForecastServices) {}

  /** As it was at most a second ago. */
  of(pool: string): Promise<PoolForecast> {
    const now = this.services.clock.elapsedMs();
    const recent = this.recent.get(pool);
    if (recent !== undefined && now - recent.readAt < KEPT_MS) return recent.made;
    const made = this.make(pool);
    this.recent.set(pool, { readAt: now, made });
    made.catch(() => this.recent.delete(pool));
    return made;
  }

  private async make(pool: string): Promise<PoolForecast> {
    const { db } = this.services;
    let state = await db.transaction(asDispatcher, (tx) => this.read(tx, pool));
    let found = forecast(state);
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const wanted = unread(found);
      if (wanted.length === 0) break;
      const items = await db.transaction(asDispatcher, (tx) => listFirstOf(tx, pool, wanted));
      state = { ...state, lines: withItems(state.lines, wanted, items) };
      found = forecast(state);
    }
    return new PoolForecast(state, found);
  }

  private async read(tx: Tx, pool: string): Promise<PoolState> {
    const { ageingMs, workers } = this.services;
    const live = workers(pool) ?? (await listLive(tx, pool));
    const now = await readNow(tx);
    const firsts = await listFirsts(tx, pool);
    const durations = new Durations();
    durations.restore(await listDurations(tx, pool));
    return {
      now,
      ageingMs,
      durations,
      turns: await readTurns(tx, pool),
      lines: firsts.map((first) => ({ queue: nameOf(first), items: [first], hasMore: true })),
      workers: workersOf(live, await listRunning(tx, pool), now),
      limits: await listRunningLimits(tx),
    };
  }
}

/** A worker is free when the last one of what it runs is expected to end. */
function workersOf(live: readonly LiveWorker[], running: readonly Running[], now: Date): readonly ForecastWorker[] {
  return live.map(({ name, presets, slots }) => {
    const runs = running.filter(({ worker }) => worker === name);
    const ends = runs.map(({ startedAt, predictedMs }) => startedAt.getTime() + (predictedMs ?? 0));
    return { presets, slots, runs, freeAt: new Date(Math.max(now.getTime(), ...ends)) };
  });
}

/** Queues of which more start than were read, and how many to read of each. */
function unread({ starts }: Forecast): readonly (QueueName & { readonly limit: number })[] {
  const queues = new Map<string, QueueName & { limit: number; isUnread: boolean }>();
  for (const { waiting, isKnown } of starts) {
    const key = keyOf(waiting);
    const queue = queues.get(key) ?? { ...nameOf(waiting), limit: SPARE, isUnread: false };
    queue.limit++;
    if (!isKnown) queue.isUnread = true;
    queues.set(key, queue);
  }
  return [...queues.values()].filter(({ isUnread }) => isUnread);
}

function withItems(
  lines: readonly Line[],
  wanted: readonly (QueueName & { readonly limit: number })[],
  items: readonly Waiting[],
): readonly Line[] {
  const limits = new Map(wanted.map((queue) => [keyOf(queue), queue.limit]));
  const found = new Map<string, Waiting[]>();
  for (const item of items) {
    const read = found.get(keyOf(item));
    if (read === undefined) found.set(keyOf(item), [item]);
    else read.push(item);
  }
  return lines.map((line) => {
    const limit = limits.get(keyOf(line.queue));
    if (limit === undefined) return line;
    const read = found.get(keyOf(line.queue)) ?? [];
    return { ...line, items: read, hasMore: read.length >= limit };
  });
}

const nameOf = ({ tenantId, userId, apiKeyId, priority, preset }: QueueName): QueueName => ({
  tenantId,
  userId,
  apiKeyId,
  priority,
  preset,
});
