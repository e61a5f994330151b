/** When a generation will start, and what it waits for: read off a forecast of its pool. */
import type { LimitLevel } from "../generated/prisma/enums.ts";
import type { ScheduledRow } from "./forecast.store.ts";
import type { ForecastStart } from "./forecast.ts";
import { picturesOf } from "./group-filling.ts";
import type { PoolForecast } from "./pool-forecast.ts";
import { keyOf, type QueueName } from "./queue-name.ts";

/** How many start before it if nothing else arrives. */
export interface Place {
  readonly startsBefore: number;
  readonly isEstimate: boolean;
}

export interface Times {
  readonly startAt: Date | undefined;
  readonly finishAt: Date | undefined;
}

/** Whose starts come before one's own. */
export interface Before {
  readonly ofOtherTenants: number;
  readonly ofOtherMembers: number;
  /** Of its own member: with another key, of another class, or asked for earlier. */
  readonly ofOwn: number;
}

export type Reason =
  | { readonly kind: "TURN"; readonly before: Before; readonly isEstimate: boolean }
  | { readonly kind: "WORKERS_BUSY"; readonly until: Date }
  | { readonly kind: "LIMIT"; readonly limit: { readonly level: LimitLevel; readonly max: number | undefined } }
  | { readonly kind: "NO_WORKER"; readonly preset: string }
  | { readonly kind: "PAUSE"; readonly until: Date }
  | { readonly kind: "TENANT_SUSPENDED" }
  | { readonly kind: "BATCH"; readonly until: Date }
  | { readonly kind: "RUNNING"; readonly since: Date };

/** A generation, and how many of its own queue wait before it where the forecast does not tell. */
export type Scheduled = ScheduledRow & { readonly ahead: number };

/** Of one that is queued; undefined when it would never start as things are. */
export function placeOf(row: Scheduled, forecast: PoolForecast): Place | undefined {
  if (row.state !== "QUEUED" || row.isSuspended) return undefined;
  const place = forecast.placeOf(row.id);
  if (place !== undefined) return { startsBefore: place, isEstimate: !areKnown(forecast.starts.slice(0, place)) };
  if (forecast.isComplete && row.createdAt < forecast.state.now) return undefined;
  const { length } = forecast.starts;
  return { startsBefore: Math.max(length, Math.round(length * pace(row, forecast))), isEstimate: true };
}

/** Of one that is queued or runs. Undefined where it would never start, or nobody who lives serves its preset. */
export function timesOf(row: Scheduled, forecast: PoolForecast): Times {
  const none = { startAt: undefined, finishAt: undefined };
  if (row.state === "ENDED" || row.isSuspended) return none;
  if (row.startedAt !== null && row.state === "RUNNING") {
    const end = row.startedAt.getTime() + (row.predictedMs ?? 0);
    const finishAt = row.predictedMs === null ? undefined : new Date(Math.max(end, forecast.state.now.getTime()));
    return { startAt: row.startedAt, finishAt };
  }
  const place = forecast.placeOf(row.id);
  const start = place === undefined ? undefined : forecast.starts[place];
  if (start !== undefined) return start;
  const last = forecast.starts.at(-1);
  if (placeOf(row, forecast) === undefined || last?.startAt === undefined) return none;
  if (!forecast.isServed(row.preset)) return none;
  const { now } = forecast.state;
  const waitMs = (last.startAt.getTime() - now.getTime()) * Math.max(1, pace(row, forecast));
  const startAt = new Date(now.getTime() + waitMs);
  const alone = { preset: row.preset, task: row.task, groupPictures: picturesOf(row.task) };
  return { startAt, finishAt: new Date(startAt.getTime() + forecast.state.durations.predict(alone)) };
}

/** What it waits for now, the decisive first; what runs says since when. */
export function reasonsOf(row: Scheduled, forecast: PoolForecast): readonly Reason[] {
  const { state } = forecast;
  if (row.state === "ENDED") return [];
  if (row.state === "RUNNING") return [{ kind: "RUNNING", since: row.startedAt ?? state.now }];
  const reasons: Reason[] = [];
  if (row.isSuspended) reasons.push({ kind: "TENANT_SUSPENDED" });
  if (row.notBefore !== null && row.notBefore > state.now) reasons.push({ kind: "PAUSE", until: row.notBefore });
  reasons.push(...limitsReached(row, forecast));
  if (!forecast.isServed(row.preset)) reasons.push({ kind: "NO_WORKER", preset: row.preset });
  reasons.push(...batchWaits(row, forecast));
  const place = placeOf(row, forecast);
  const before = place === undefined ? undefined : beforeOf(row, forecast, place);
  if (before !== undefined) reasons.push(before);
  if (reasons.length === 0) reasons.push(...workersBusy(row, forecast));
  return reasons;
}

/**
 * Its queue's share of the starts that were played, carried on: 1 is the last of them. Where none is of its queue, those that
 * wait there come one each time that all have had their turn.
 */
function pace(row: Scheduled, forecast: PoolForecast): number {
  const { starts, state } = forecast;
  const key = keyOf(row);
  const turns = starts.filter(({ waiting }) => keyOf(waiting) === key).length;
  if (turns > 0) return row.ahead / turns;
  const later = forecast.laterTurnOf(row) + row.ahead * state.lines.length;
  return 1 + later / Math.max(1, starts.length);
}

const areKnown = (starts: readonly ForecastStart[]): boolean => starts.every(({ isKnown }) => isKnown);

/** Figures of the platform's limits are nobody's business. */
function limitsReached({ tenantId, userId, apiKeyId }: QueueName, { state }: PoolForecast): readonly Reason[] {
  return state.limits
    .filter(({ held, max }) => held >= max)
    .filter(
      ({ level, tenantId: of, subjectId }) =>
        level === "PLATFORM" ||
        (of === tenantId && subjectId === { TENANT: tenantId, MEMBER: userId, API_KEY: apiKeyId }[level]),
    )
    .map(({ level, max }) => ({ kind: "LIMIT", limit: { level, max: level === "PLATFORM" ? undefined : max } }));
}

/** As long as something of another class waits; from then on it takes turns with them. */
function batchWaits({ priority, createdAt }: Scheduled, { state }: PoolForecast): readonly Reason[] {
  const until = new Date(createdAt.getTime() + state.ageingMs);
  const waitsForOthers = state.lines.some(({ queue }) => queue.priority !== "BATCH");
  return priority === "BATCH" && waitsForOthers && until > state.now ? [{ kind: "BATCH", until }] : [];
}

/** Beyond the starts that were played, only its own queue is counted. */
function beforeOf(row: Scheduled, { starts }: PoolForecast, place: Place): Reason | undefined {
  if (place.startsBefore === 0) return undefined;
  const known = starts.slice(0, place.startsBefore).map(({ waiting }) => waiting);
  const others = known.filter(({ tenantId }) => tenantId !== row.tenantId).length;
  const members = known.filter(({ tenantId, userId }) => tenantId === row.tenantId && userId !== row.userId).length;
  const factor = place.startsBefore / known.length;
  const scaled = (count: number): number => Math.round(count * factor);
  const before = {
    ofOtherTenants: scaled(others),
    ofOtherMembers: scaled(members),
    ofOwn: scaled(known.length - others - members),
  };
  return { kind: "TURN", before, isEstimate: place.isEstimate };
}

/** It is the next one. */
function workersBusy({ preset }: Scheduled, { state }: PoolForecast): readonly Reason[] {
  const ends = state.workers
    .filter(({ presets, runs }) => presets.includes(preset) && runs.length > 0)
    .map(({ freeAt }) => freeAt.getTime());
  return ends.length === 0 ? [] : [{ kind: "WORKERS_BUSY", until: new Date(Math.min(...ends)) }];
}
