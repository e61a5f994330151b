import { NIL } from "uuid";
import { Prisma } from "../generated/prisma/client.ts";
import type { TaskKind } from "../generated/prisma/enums.ts";
import { parseTask } from "../generation/settings.ts";
import type { Querying } from "../platform/database.ts";
import type { GroupCandidate } from "./group-filling.ts";
import type { QueueName, WaitingQueue } from "./queue-name.ts";

/** In the words of the index, which has what runs, too: a look passes over as many as run of a queue. */
const WAITS = Prisma.sql`finished_at is null and not parked and state = 'QUEUED'`;

/** As the index has it. */
const KEY_OR_NIL = Prisma.sql`coalesce(api_key_id, '00000000-0000-0000-0000-000000000000')`;

const SUSPENDED = Prisma.sql`(select id from tenant where suspended_at is not null)`;

/**
 * The queues of a pool that have something, whether it could start now or not: as many index lookups as there are queues,
 * however much waits in them.
 */
export async function listQueues(db: Querying, pool: string): Promise<readonly WaitingQueue[]> {
  return db.$queryRaw<WaitingQueue[]>`
    with recursive queued as (
      (select tenant_id, user_id, ${KEY_OR_NIL} as api_key_id, priority, preset, created_at
        from generation where pool = ${pool} and ${WAITS}
        order by tenant_id, user_id, ${KEY_OR_NIL}, priority, preset, created_at limit 1)
      union all
      select next.* from queued q, lateral (
        select tenant_id, user_id, ${KEY_OR_NIL} as api_key_id, priority, preset, created_at from generation
        where pool = ${pool} and ${WAITS}
          and (tenant_id, user_id, ${KEY_OR_NIL}, priority, preset) > (q.tenant_id, q.user_id, q.api_key_id, q.priority, q.preset)
        order by tenant_id, user_id, ${KEY_OR_NIL}, priority, preset, created_at limit 1
      ) as next
    )
    select tenant_id as "tenantId", user_id as "userId", nullif(api_key_id, '00000000-0000-0000-0000-000000000000') as "apiKeyId",
      priority, preset, created_at as since
    from queued`;
}

/** What came into the queues of a pool, and up to which transaction everything is known. */
export interface Arrivals {
  /** Queues with something that came in; `since`: when the oldest of that was asked for. */
  readonly queues: readonly WaitingQueue[];
  /** The oldest transaction that was under way: it and later ones may bring what was not seen here. */
  readonly seenUntil: string;
  /** Milliseconds since 1970, by the database's clock. */
  readonly nowMs: number;
}

/** @param since `seenUntil` of the last time; undefined for nothing but where to begin */
export async function readArrivals(db: Querying, pool: string, since: string | undefined): Promise<Arrivals> {
  const [read] = await db.$queryRaw<
    { seenUntil: string; nowMs: number; queues: (QueueName & { sinceMs: number })[] | null }[]
  >`
    select pg_snapshot_xmin(pg_current_snapshot())::text as "seenUntil", extract(epoch from now())::float8 * 1000 as "nowMs",
      (select json_agg(arrived) from (
        select tenant_id as "tenantId", user_id as "userId", api_key_id as "apiKeyId", priority, preset,
          extract(epoch from min(created_at))::float8 * 1000 as "sinceMs"
        from generation
        where pool = ${pool} and ${WAITS} and queued_xid >= ${since ?? null}::text::xid8
        group by tenant_id, user_id, api_key_id, priority, preset
      ) as arrived) as queues`;
  const { seenUntil = "0", nowMs = 0, queues = null } = read ?? {};
  return {
    seenUntil,
    nowMs,
    queues: (queues ?? []).map(({ sinceMs, ...queue }) => ({ ...queue, since: new Date(Math.round(sinceMs)) })),
  };
}

/** A place in a queue: behind this one. */
export interface Place {
  readonly createdAt: Date;
  readonly id: string;
}

/** A generation in a queue. */
export interface QueuedCandidate extends GroupCandidate, Place {
  /** Of its tenant. */
  readonly weight: number;
}

export interface HeadsRequest {
  readonly pool: string;
  readonly queues: readonly { readonly queue: QueueName; readonly after: Place | undefined }[];
  /** Of each queue. */
  readonly limit: number;
}

/** A generation at the head of a queue; `queue`: which one of the request. */
export interface Head {
  readonly queue: number;
  readonly candidate: QueuedCandidate;
  /** Milliseconds since 1970, by the database's clock: until then it cannot start. */
  readonly pausedUntilMs: number | null;
}

/**
 * The next ones of each queue, oldest first: as many index lookups as there are queues. Queues are ranges of their index, and
 * the limit stands in the statement: asked for by equalities, or with any limit, the planner takes few rows for few and
 * sorts whole queues, or reads all that a member ever made.
 */
export async function listHeads(db: Querying, { pool, queues, limit }: HeadsRequest): Promise<readonly Head[]> {
  const of = <T>(read: (queue: QueueName) => T): T[] => queues.map(({ queue }) => read(queue));
  const rows = await db.$queryRaw<
    (Omit<QueuedCandidate, "task"> & {
      readonly queue: number;
      readonly task: TaskKind;
      readonly settings: unknown;
      readonly pausedUntilMs: number | null;
    })[]
  >`
    select q.place::int - 1 as queue, g.id, g.tenant_id as "tenantId", g.user_id as "userId", g.api_key_id as "apiKeyId", g.preset,
      g.priority, g.task, g.settings, g.attempt = 0 as "isNew", g.suspicion, g.created_at as "createdAt", t.share_weight as weight,
      extract(epoch from g.not_before)::float8 * 1000 as "pausedUntilMs"
    from unnest(${of(({ tenantId }) => tenantId)}::uuid[], ${of(({ userId }) => userId)}::uuid[],
      ${of(({ apiKeyId }) => apiKeyId ?? NIL)}::uuid[], ${of(({ priority }) => priority)}::text[], ${of(({ preset }) => preset)}::text[],
      ${queues.map(({ after }) => after?.createdAt.toISOString() ?? "-infinity")}::text[],
      ${queues.map(({ after }) => after?.id ?? NIL)}::uuid[])
      with ordinality as q (tenant_id, user_id, api_key_id, priority, preset, after_at, after_id, place)
    join tenant t on t.id = q.tenant_id
    cross join lateral (
      select * from generation
      where pool = ${pool} and ${WAITS} and (deadline_at is null or deadline_at > now())
        and (tenant_id, user_id, ${KEY_OR_NIL}, priority, preset, created_at, id)
          > (q.tenant_id, q.user_id, q.api_key_id, q.priority::priority, q.preset, q.after_at::timestamptz, q.after_id)
        and (tenant_id, user_id, ${KEY_OR_NIL}, priority, preset) <= (q.tenant_id, q.user_id, q.api_key_id, q.priority::priority, q.preset)
      order by tenant_id, user_id, ${KEY_OR_NIL}, priority, preset, created_at, id
      limit ${Prisma.raw(String(Math.trunc(limit)))}
    ) as g
    order by q.place, g.created_at, g.id`;
  return rows.map(({ queue, pausedUntilMs, ...row }) => {
    const { settings, ...candidate } = row;
    return { queue, pausedUntilMs, candidate: { ...candidate, task: parseTask({ task: row.task, settings }) } };
  });
}

/** Which of these queues no limit of what runs holds back, nor the suspension of their tenant. */
export async function listFree(db: Querying, queues: readonly QueueName[]): Promise<ReadonlySet<number>> {
  const rows = await db.$queryRaw<{ place: number }[]>`
    select of.place::int - 1 as place
    from unnest(${queues.map(({ tenantId }) => tenantId)}::uuid[], ${queues.map(({ userId }) => userId)}::uuid[],
      ${queues.map(({ apiKeyId }) => apiKeyId ?? NIL)}::uuid[]) with ordinality as of (tenant_id, user_id, api_key_id, place)
    where of.tenant_id <> all(array${SUSPENDED}) and not exists (
      select 1 from limits l where l.kind = 'RUNNING' and l.held >= l.max and (l.tenant_id, l.level, l.subject_id) in (
        ('00000000-0000-0000-0000-000000000000', 'PLATFORM', '00000000-0000-0000-0000-000000000000'),
        (of.tenant_id, 'TENANT', of.tenant_id), (of.tenant_id, 'MEMBER', of.user_id), (of.tenant_id, 'API_KEY', of.api_key_id)
      )
    )`;
  return new Set(rows.map(({ place }) => place));
}

/** Queued generations whose deadline has passed. */
export async function listPastDeadline(db: Querying, limit: number): Promise<readonly string[]> {
  const rows = await db.$queryRaw<{ id: string }[]>`
    select id from generation where finished_at is null and deadline_at <= now() and state = 'QUEUED' order by deadline_at limit ${limit}::int`;
  return rows.map(({ id }) => id);
}
