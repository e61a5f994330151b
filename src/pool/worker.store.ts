import { Prisma, type Worker } from "../generated/prisma/client.ts";
import type { Tx } from "../platform/database.ts";
import type { LiveWorker, WorkerReport } from "./worker-pool.ts";

/** A worker of which nobody told for this long is gone. Its leader tells every ten seconds. */
const UNSEEN_SECONDS = 30;
/** How long workers that are gone are remembered; one that drains may come back under its name. */
const KEPT_HOURS = 1;
const KEPT_DRAINING_HOURS = 7 * 24;

/** Of the leader of a pool. */
export interface Reporter {
  readonly pool: string;
  /** Of the pool's lease: whoever does not hold it changes nothing. */
  readonly holder: string;
}

/** What was not told yet. */
export interface NewReport extends Omit<WorkerReport, "faults" | "quarantinedUntil"> {
  readonly newFaults: number;
  /** From now; null when it is not quarantined. */
  readonly quarantineMs: number | null;
}

/** Records all workers of a pool; those that are missing are gone. @returns whether the reporter leads the pool */
export async function saveWorkers(tx: Tx, { pool, holder }: Reporter, reports: readonly NewReport[]): Promise<boolean> {
  const [leader] = await tx.$queryRaw<unknown[]>`
    with leader as (
      select 1 from pool_lease where pool = ${pool} and holder = ${holder}::uuid and expires_at > now()
    ), report as materialized (
      select * from jsonb_to_recordset(${JSON.stringify(reports)}::jsonb) as r
        (name text, slots int, standby int, presets jsonb, "newFaults" int, "quarantineMs" float8)
      where exists (select from leader)
    ), saved as (
      insert into worker (pool, name, slots, standby, presets, faults, quarantined_until)
      select ${pool}, name, slots, standby, presets, "newFaults", now() + make_interval(secs => "quarantineMs" / 1000) from report
      on conflict (pool, name) do update set slots = excluded.slots, standby = excluded.standby, presets = excluded.presets,
        faults = worker.faults + excluded.faults, quarantined_until = excluded.quarantined_until,
        since = case when worker.gone_at is null then worker.since else now() end, seen_at = now(), gone_at = null
    ), gone as (
      update worker set gone_at = now(), slots = 0
      where pool = ${pool} and gone_at is null and exists (select from leader) and name not in (select name from report)
    ), forgotten as (
      delete from worker
      where pool = ${pool} and exists (select from leader) and name not in (select name from report)
        and gone_at < now() - make_interval(hours => case when drain_requested_at is null then ${KEPT_HOURS}::int else ${KEPT_DRAINING_HOURS}::int end)
    )
    select 1 from leader`;
  return leader !== undefined;
}

/** A worker that gets nothing more. */
export interface Drain {
  readonly name: string;
  /** What it runs shall go on elsewhere. */
  readonly yields: boolean;
}

export async function listDrains(tx: Tx, pool: string): Promise<readonly Drain[]> {
  const rows = await tx.worker.findMany({
    where: { pool, drainRequestedAt: { not: null } },
    select: { name: true, drainYields: true },
  });
  return rows.map(({ name, drainYields: yields }) => ({ name, yields }));
}

/** A worker that an earlier leader of the pool left alone, for so long from now. */
export interface Quarantine {
  readonly name: string;
  readonly ms: number;
}

export async function listQuarantines(tx: Tx, pool: string): Promise<readonly Quarantine[]> {
  return tx.$queryRaw<Quarantine[]>`
    select name, extract(epoch from quarantined_until - now())::float8 * 1000 as ms from worker
    where pool = ${pool} and quarantined_until > now()`;
}

const isSeen = Prisma.sql`gone_at is null and seen_at > now() - make_interval(secs => ${UNSEEN_SECONDS}::int)`;

/** Those that get work now, as the pool's leader last told. */
export async function listLive(tx: Tx, pool: string): Promise<readonly LiveWorker[]> {
  return tx.$queryRaw<LiveWorker[]>`
    select name, slots, array(select preset->>'name' from jsonb_array_elements(presets) as preset) as presets
    from worker where pool = ${pool} and ${isSeen} and slots > 0 and drain_requested_at is null order by name`;
}

/** With what can be told from elsewhere. */
export interface WorkerRow extends Omit<Worker, "goneAt" | "drainYields"> {
  readonly isGone: boolean;
  readonly isQuarantined: boolean;
  /** Attempts that it runs. */
  readonly running: number;
}

/** By pool and name. @param which all pools, and all of a pool, where it is not named */
export async function listWorkers(
  tx: Tx,
  { pool, name }: { readonly pool?: string | undefined; readonly name?: string | undefined },
): Promise<readonly WorkerRow[]> {
  return tx.$queryRaw<WorkerRow[]>`
    select pool, name, slots, standby, presets, since, seen_at as "seenAt", faults, quarantined_until as "quarantinedUntil",
      drain_requested_at as "drainRequestedAt", not (${isSeen}) as "isGone", coalesce(quarantined_until > now(), false) as "isQuarantined",
      coalesce(r.running, 0)::int as running
    from worker left join (
      select g.pool as of_pool, a.worker as of_worker, count(*) as running
      from attempt a join generation g on g.id = a.generation_id
      where a.ended_at is null and g.state = 'RUNNING' group by g.pool, a.worker
    ) as r on r.of_pool = pool and r.of_worker = name
    where (${pool ?? null}::text is null or pool = ${pool ?? null}::text) and (${name ?? null}::text is null or name = ${name ?? null}::text)
    order by pool, name`;
}

/** The wish as it stands, which stays as it is until the transaction ends. */
export async function lockDrain(
  tx: Tx,
  { pool, name }: { readonly pool: string; readonly name: string },
): Promise<{ readonly drainRequestedAt: Date | null; readonly drainYields: boolean } | undefined> {
  const [row] = await tx.$queryRaw<{ drainRequestedAt: Date | null; drainYields: boolean }[]>`
    select drain_requested_at as "drainRequestedAt", drain_yields as "drainYields" from worker
    where pool = ${pool} and name = ${name} for update`;
  return row;
}

/** @param yields whether what it runs shall go on elsewhere; undefined ends the drain */
export async function setDrain(
  tx: Tx,
  { pool, name }: { readonly pool: string; readonly name: string },
  yields: boolean | undefined,
): Promise<void> {
  await tx.$executeRaw`
    update worker set drain_yields = ${yields ?? false},
      drain_requested_at = case when ${yields !== undefined} then coalesce(drain_requested_at, now()) end
    where pool = ${pool} and name = ${name}`;
}
