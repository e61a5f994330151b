import type { Tx } from "../platform/database.ts";
import type { Share } from "./fairness.ts";

/** A pool, and the time until which its minutes are accounted for. */
export interface AccountedPool {
  readonly name: string;
  /** Null before the first minute. */
  readonly accountedUntil: Date | null;
  /** By the database's clock. */
  readonly now: Date;
}

/** Nobody else accounts for it until the transaction ends. */
export async function lockAccounts(tx: Tx): Promise<readonly AccountedPool[]> {
  return tx.$queryRaw<AccountedPool[]>`
    select name, accounted_until as "accountedUntil", now()::timestamptz(3) as now from pool order by name for update`;
}

export async function moveAccounts(tx: Tx, pool: string, until: Date): Promise<void> {
  await tx.pool.update({ where: { name: pool }, data: { accountedUntil: until } });
}

/** An attempt, and the wait before it when it is the first one of its generation. */
export interface Served {
  readonly tenantId: string;
  readonly number: number;
  readonly share: number;
  readonly queuedAt: Date;
  readonly startedAt: Date;
  /** For which its worker then computed for others. */
  readonly standbyMs: number;
  /** Null while it runs. */
  readonly endedAt: Date | null;
}

/** What ran then or later. Of an attempt whose server died nobody knows the end: it is taken to have run as long as expected. */
export async function listServed(tx: Tx, pool: string, since: Date): Promise<readonly Served[]> {
  return tx.$queryRaw<Served[]>`
    select a.tenant_id as "tenantId", a.number, a.share, g.created_at as "queuedAt", a.started_at as "startedAt", a.standby_ms as "standbyMs",
      case a.outcome when 'ORPHANED' then least(a.ended_at, a.started_at + make_interval(secs => coalesce(a.predicted_ms, 0) / 1000))
        else a.ended_at end as "endedAt"
    from attempt a join generation g on g.id = a.generation_id
    where g.pool = ${pool} and (a.ended_at > ${since} or a.ended_at is null)`;
}

export async function readWeights(tx: Tx, tenantIds: readonly string[]): Promise<ReadonlyMap<string, number>> {
  const rows = await tx.tenant.findMany({
    where: { id: { in: [...tenantIds] } },
    select: { id: true, shareWeight: true },
  });
  return new Map(rows.map(({ id, shareWeight }) => [id, shareWeight]));
}

/** Of a tenant in one minute, with its waits by bucket. */
export interface MinuteRow extends Share {
  readonly minute: Date;
  readonly waits: readonly number[];
}

/** Of tenants that were erased nothing is kept. */
export async function saveMinutes(tx: Tx, pool: string, rows: readonly MinuteRow[]): Promise<void> {
  if (rows.length === 0) return;
  await tx.$executeRaw`
    insert into fair_share_minute (pool, tenant_id, minute, pool_ms, entitled_ms, received_ms, lent_ms, borrowed_ms, waits)
    select ${pool}, r.tenant_id, r.minute, r.pool_ms, r.entitled_ms, r.received_ms, r.lent_ms, r.borrowed_ms, r.waits
    from jsonb_to_recordset(${JSON.stringify(rows.map(toRecord))}::jsonb) as r (tenant_id uuid, minute timestamptz, pool_ms float8,
      entitled_ms float8, received_ms float8, lent_ms float8, borrowed_ms float8, waits int[])
    where exists (select 1 from tenant t where t.id = r.tenant_id and t.erased_at is null)
    on conflict do nothing`;
}

const toRecord = ({ tenantId, minute, poolMs, entitledMs, receivedMs, lentMs, borrowedMs, waits }: MinuteRow) => ({
  tenant_id: tenantId,
  minute,
  pool_ms: poolMs,
  entitled_ms: entitledMs,
  received_ms: receivedMs,
  lent_ms: lentMs,
  borrowed_ms: borrowedMs,
  waits,
});

export async function deleteMinutesBefore(tx: Tx, days: number): Promise<number> {
  return tx.$executeRaw`delete from fair_share_minute where minute < now() - make_interval(days => ${days}::int)`;
}

/** Added up. */
export interface FairnessSum extends Omit<Share, "tenantId"> {
  readonly waits: readonly number[];
}

/** Of all pools, in the hours before now. */
export async function sumMinutes(tx: Tx, tenantId: string, hours: number): Promise<FairnessSum> {
  const [sum] = await tx.$queryRaw<FairnessSum[]>`
    with kept as (
      select * from fair_share_minute where tenant_id = ${tenantId}::uuid and minute >= now() - make_interval(hours => ${hours}::int)
    ), waits as (
      select bucket, sum(count)::float8 as count from kept, unnest(waits) with ordinality as w (count, bucket) group by bucket
    )
    select coalesce(sum(pool_ms), 0) as "poolMs", coalesce(sum(entitled_ms), 0) as "entitledMs", coalesce(sum(received_ms), 0) as "receivedMs",
      coalesce(sum(lent_ms), 0) as "lentMs", coalesce(sum(borrowed_ms), 0) as "borrowedMs",
      (select coalesce(json_agg(coalesce(w.count, 0) order by b), '[]') from generate_series(1, (select max(bucket) from waits)) as b
        left join waits w on w.bucket = b) as waits
    from kept`;
  return sum ?? { poolMs: 0, entitledMs: 0, receivedMs: 0, lentMs: 0, borrowedMs: 0, waits: [] };
}
