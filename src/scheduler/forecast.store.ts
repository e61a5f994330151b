/** What a forecast of a pool is made of: rows in which nobody's texts are, as many as may start soon. */
import { NIL } from "uuid";
import { Prisma } from "../generated/prisma/client.ts";
import type { TaskKind } from "../generated/prisma/enums.ts";
import { parseTask } from "../generation/settings.ts";
import type { Tx } from "../platform/database.ts";
import type { RunningLimit, Waiting } from "./forecast.ts";
import type { QueueName } from "./queue-name.ts";

const KEY_OR_NIL = Prisma.sql`coalesce(api_key_id, '00000000-0000-0000-0000-000000000000')`;

/** A queue as a range of the index, see listHeads. */
const isBetween = (queue: Prisma.Sql): Prisma.Sql =>
  Prisma.sql`(tenant_id, user_id, ${KEY_OR_NIL}, priority, preset) >= ${queue} and (tenant_id, user_id, ${KEY_OR_NIL}, priority, preset) <= ${queue}`;

/** That of the index. */
const QUEUE_ORDER = Prisma.sql`tenant_id, user_id, ${KEY_OR_NIL}, priority, preset, created_at, id`;

/** Texts are emptied: they decide nothing, but one that is missing does. */
const COLUMNS = Prisma.sql`id, tenant_id, user_id, ${KEY_OR_NIL} as api_key_id, preset, priority, task, attempt, suspicion, created_at, not_before,
  deadline_at, settings || jsonb_strip_nulls(jsonb_build_object('prompt', left(settings->>'prompt', 0), 'instruction', left(settings->>'instruction', 0),
  'question', left(settings->>'question', 0), 'unconditionalPrompt', left(settings->>'unconditionalPrompt', 0))) as settings`;

/** Of rows `item` with these columns, and of their tenants. */
const NAMED = Prisma.sql`item.id, item.tenant_id as "tenantId", user_id as "userId",
  nullif(api_key_id, '00000000-0000-0000-0000-000000000000') as "apiKeyId", preset, priority, task as kind, settings, attempt = 0 as "isNew", suspicion,
  item.created_at as "createdAt", not_before as "notBefore", deadline_at as "deadlineAt", share_weight as weight`;

const waitsIn = (pool: string): Prisma.Sql =>
  Prisma.sql`pool = ${pool} and finished_at is null and not parked and state = 'QUEUED'`;

type WaitingRow = Omit<Waiting, "task"> & { readonly kind: TaskKind; readonly settings: unknown };

/** Settings are understood when somebody asks for them: most never start within a forecast. */
function toWaiting<Row extends WaitingRow>({ kind, settings, ...row }: Row): Omit<Row, "kind" | "settings"> & Waiting {
  let task: Waiting["task"] | undefined;
  return {
    ...row,
    get task() {
      task ??= parseTask({ task: kind, settings });
      return task;
    },
  };
}

/** The first one of every queue that has something. */
export async function listFirsts(tx: Tx, pool: string): Promise<readonly Waiting[]> {
  const rows = await tx.$queryRaw<WaitingRow[]>`
    with recursive head as (
      (select ${COLUMNS} from generation where ${waitsIn(pool)}
        order by tenant_id, user_id, ${KEY_OR_NIL}, priority, preset, created_at, id limit 1)
      union all
      select next.* from head h, lateral (
        select ${COLUMNS} from generation
        where ${waitsIn(pool)} and (tenant_id, user_id, ${KEY_OR_NIL}, priority, preset) > (h.tenant_id, h.user_id, h.api_key_id, h.priority, h.preset)
        order by tenant_id, user_id, ${KEY_OR_NIL}, priority, preset, created_at, id limit 1
      ) as next
    )
    select ${NAMED} from head as item join tenant on tenant.id = tenant_id where suspended_at is null`;
  return rows.map(toWaiting);
}

/** The first ones of queues, oldest first. */
export async function listFirstOf(
  tx: Tx,
  pool: string,
  queues: readonly (QueueName & { readonly limit: number })[],
): Promise<readonly Waiting[]> {
  const rows = await tx.$queryRaw<WaitingRow[]>`
    select ${NAMED} from unnest(${queues.map(({ tenantId }) => tenantId)}::uuid[], ${queues.map(({ userId }) => userId)}::uuid[],
      ${queues.map(({ apiKeyId }) => apiKeyId ?? NIL)}::uuid[], ${queues.map(({ priority }) => priority)}::text[],
      ${queues.map(({ preset }) => preset)}::text[], ${queues.map(({ limit }) => limit)}::int[])
      as q (of_tenant, of_user, of_key, of_priority, of_preset, at_most)
    join tenant on tenant.id = of_tenant cross join lateral (
      select ${COLUMNS} from generation
      where ${waitsIn(pool)} and ${isBetween(Prisma.sql`(of_tenant, of_user, of_key, of_priority::priority, of_preset)`)}
      order by ${QUEUE_ORDER} limit at_most
    ) as item`;
  return rows.map(toWaiting);
}

/** What runs on a worker. */
export interface Running extends QueueName {
  readonly worker: string;
  readonly startedAt: Date;
  /** Null of what started before it was noted. */
  readonly predictedMs: number | null;
}

export async function listRunning(tx: Tx, pool: string): Promise<readonly Running[]> {
  return tx.$queryRaw<Running[]>`
    select g.tenant_id as "tenantId", g.user_id as "userId", g.api_key_id as "apiKeyId", g.priority, g.preset, a.worker,
      a.started_at as "startedAt", a.predicted_ms as "predictedMs"
    from attempt a join generation g on g.id = a.generation_id
    where a.ended_at is null and g.pool = ${pool} and g.state = 'RUNNING'`;
}

export async function listRunningLimits(tx: Tx): Promise<readonly RunningLimit[]> {
  const rows = await tx.limit.findMany({
    where: { kind: "RUNNING" },
    select: { level: true, tenantId: true, subjectId: true, max: true, held: true },
  });
  return rows.map(({ max, held, ...limit }) => ({ ...limit, max: Number(max), held: Number(held) }));
}

/** By the database's clock, which judges pauses and deadlines. */
export async function readNow(tx: Tx): Promise<Date> {
  const [row] = await tx.$queryRaw<{ now: Date }[]>`select now()::timestamptz(3) as now`;
  return row?.now ?? new Date();
}

/** A generation as far as its schedule is concerned. */
export interface ScheduledRow extends Waiting {
  readonly pool: string;
  readonly state: "QUEUED" | "RUNNING" | "ENDED";
  readonly isSuspended: boolean;
  /** Of the newest attempt. */
  readonly startedAt: Date | null;
  readonly predictedMs: number | null;
}

export async function readScheduled(tx: Tx, ids: readonly string[]): Promise<ReadonlyMap<string, ScheduledRow>> {
  const rows = await tx.$queryRaw<(WaitingRow & Omit<ScheduledRow, keyof Waiting>)[]>`
    with asked as (
      select pool, case when state in ('QUEUED', 'RUNNING') then state::text else 'ENDED' end as state, ${COLUMNS}
      from generation where id = any(${[...ids]}::uuid[])
    )
    select ${NAMED}, pool, state, suspended_at is not null as "isSuspended", a.started_at as "startedAt", a.predicted_ms as "predictedMs"
    from asked as item join tenant on tenant.id = item.tenant_id
    left join (select generation_id, number, started_at, predicted_ms from attempt) as a on a.generation_id = item.id and a.number = item.attempt`;
  return new Map(rows.map((row) => [row.id, toWaiting(row)]));
}

/** At most so many of a queue are counted. */
const MAX_COUNTED = 100_000;

/** How many wait in a queue; MAX_COUNTED where there are as many or more. */
export async function countQueue(
  tx: Tx,
  pool: string,
  { tenantId, userId, apiKeyId, priority, preset }: QueueName,
): Promise<number> {
  const [row] = await tx.$queryRaw<{ count: number }[]>`
    select count(*)::int as count from (
      select 1 from generation
      where ${waitsIn(pool)} and tenant_id = ${tenantId}::uuid and user_id = ${userId}::uuid
        and ${KEY_OR_NIL} = ${apiKeyId ?? NIL}::uuid and priority = ${priority}::priority and preset = ${preset}
      limit ${MAX_COUNTED}::int
    ) as waiting`;
  return row?.count ?? 0;
}

/** How many of its own queue wait before each generation; MAX_COUNTED where there are as many or more. */
export async function readAhead(tx: Tx, ids: readonly string[]): Promise<ReadonlyMap<string, number>> {
  const rows = await tx.$queryRaw<{ id: string; ahead: number }[]>`
    with asked as (
      select id, pool, tenant_id, user_id, ${KEY_OR_NIL} as api_key_id, priority, preset from generation
      where id = any(${[...ids]}::uuid[]) and state = 'QUEUED' and not parked
    ), queue as (select distinct pool, tenant_id, user_id, api_key_id, priority, preset from asked)
    select asked.id, coalesce(found.place - 1, ${MAX_COUNTED})::int as ahead
    from asked left join (
      select item.id, item.place from queue q, lateral (
        select g.id, row_number() over (order by g.created_at, g.id) as place from (
          select id, created_at from generation
          where pool = q.pool and finished_at is null and not parked and state = 'QUEUED'
            and ${isBetween(Prisma.sql`(q.tenant_id, q.user_id, q.api_key_id, q.priority, q.preset)`)}
          order by ${QUEUE_ORDER} limit ${MAX_COUNTED}::int
        ) as g
      ) as item where item.id = any(${[...ids]}::uuid[])
    ) as found on found.id = asked.id`;
  return new Map(rows.map(({ id, ahead }) => [id, ahead]));
}

export async function readWeight(tx: Tx, tenantId: string): Promise<number> {
  const { shareWeight } = await tx.tenant.findUniqueOrThrow({ where: { id: tenantId }, select: { shareWeight: true } });
  return shareWeight;
}
