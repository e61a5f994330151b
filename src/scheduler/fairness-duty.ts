/**
 * Accounts for the minutes of each pool that are over, each once, from what is stored of attempts and queues. Minutes that
 * nobody accounted for, because no server ran, follow when one does.
 */
import { asDispatcher } from "../platform/access.ts";
import type { Database, Tx } from "../platform/database.ts";
import {
  type AccountedPool,
  deleteMinutesBefore,
  listServed,
  lockAccounts,
  type MinuteRow,
  moveAccounts,
  readWeights,
  type Served,
  saveMinutes,
} from "./fairness.store.ts";
import { bucketOf, coveredMs, type Demand, MINUTE_MS, overlapMs, type Span, sharesOf } from "./fairness.ts";
import { listQueues } from "./queue.store.ts";

/** After the end of a minute, for writes that were under way. */
const SETTLE_MS = 5000;
/** In one transaction. */
const MAX_MINUTES = 60;
/** The longest report is of a week. */
const KEPT_DAYS = 8;

export class FairnessDuty {
  constructor(private readonly services: { readonly db: Database }) {}

  /** @returns how many minutes were accounted for */
  async runOnce(): Promise<number> {
    const { db } = this.services;
    let total = 0;
    for (;;) {
      const minutes = await db.transaction(asDispatcher, accountSome);
      total += minutes;
      if (minutes === 0) break;
    }
    await db.transaction(asDispatcher, (tx) => deleteMinutesBefore(tx, KEPT_DAYS));
    return total;
  }
}

async function accountSome(tx: Tx): Promise<number> {
  let minutes = 0;
  for (const pool of await lockAccounts(tx)) minutes += await accountPool(tx, pool);
  return minutes;
}

async function accountPool(tx: Tx, { name, accountedUntil, now }: AccountedPool): Promise<number> {
  if (accountedUntil === null) {
    await moveAccounts(tx, name, new Date(minuteOf(now.getTime())));
    return 0;
  }
  const from = accountedUntil.getTime();
  const to = Math.min(minuteOf(now.getTime() - SETTLE_MS), from + MAX_MINUTES * MINUTE_MS);
  if (to <= from) return 0;
  const served = await listServed(tx, name, accountedUntil);
  const waiting = await listQueues(tx, name);
  const tenantIds = [...new Set([...served, ...waiting].map(({ tenantId }) => tenantId))];
  const weights = await readWeights(tx, tenantIds);
  const rows: MinuteRow[] = [];
  for (let begin = from; begin < to; begin += MINUTE_MS)
    rows.push(...rowsOf({ from: begin, to: begin + MINUTE_MS }, { served, waiting, weights, now }));
  await saveMinutes(tx, name, rows);
  await moveAccounts(tx, name, new Date(to));
  return (to - from) / MINUTE_MS;
}

interface History {
  readonly served: readonly Served[];
  readonly waiting: readonly { readonly tenantId: string; readonly since: Date }[];
  readonly weights: ReadonlyMap<string, number>;
  readonly now: Date;
}

/** Of the tenants that had demand in a minute in which anybody received anything. */
function rowsOf(minute: Span, { served, waiting, weights, now }: History): readonly MinuteRow[] {
  const demands = new Map<string, Demand & { waits: Span[]; buckets: number[] }>();
  const demandOf = (tenantId: string) => {
    const known = demands.get(tenantId);
    if (known !== undefined) return known;
    const demand = { tenantId, weight: weights.get(tenantId) ?? 1, receivedMs: 0, waitedMs: 0, waits: [], buckets: [] };
    demands.set(tenantId, demand);
    return demand;
  };
  for (const { tenantId, number, share, queuedAt, startedAt, standbyMs, endedAt } of served) {
    const runs = { from: startedAt.getTime() + standbyMs, to: (endedAt ?? now).getTime() };
    const waits = { from: (number === 1 ? queuedAt : startedAt).getTime(), to: startedAt.getTime() };
    if (overlapMs({ from: waits.from, to: Math.max(runs.to, waits.to) }, minute) === 0) continue;
    const demand = demandOf(tenantId);
    demand.receivedMs += share * overlapMs(runs, minute);
    demand.waits.push(waits);
    if (number === 1 && waits.to >= minute.from && waits.to < minute.to)
      addTo(demand.buckets, bucketOf(waits.to - waits.from));
  }
  for (const { tenantId, since } of waiting)
    if (since.getTime() < minute.to) demandOf(tenantId).waits.push({ from: since.getTime(), to: now.getTime() });
  for (const demand of demands.values()) demand.waitedMs = coveredMs(minute, demand.waits);
  const found = sharesOf([...demands.values()]).filter(({ poolMs }) => poolMs > 0);
  return found.map((share) => ({
    ...share,
    minute: new Date(minute.from),
    waits: demandOf(share.tenantId).buckets,
  }));
}

function addTo(buckets: number[], bucket: number): void {
  while (buckets.length <= bucket) buckets.push(0);
  buckets[bucket] = (buckets[bucket] ?? 0) + 1;
}

const minuteOf = (ms: number): number => Math.floor(ms / MINUTE_MS) * MINUTE_MS;
