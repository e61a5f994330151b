import { NIL } from "uuid";
import { Prisma } from "../generated/prisma/client.ts";
import type { TaskKind } from "../generated/prisma/enums.ts";
import { parseTask } from "../generation/settings.ts";
import type { Tx } from "../platform/database.ts";
import type { Candidate } from "./fair-share.ts";
import type { GroupCandidate } from "./group-filling.ts";

export interface CandidateRequest {
  readonly presets: readonly string[];
  readonly limit: number;
}

const COLUMNS = Prisma.sql`id, tenant_id as "tenantId", user_id as "userId", api_key_id as "apiKeyId", preset, priority, created_at as "createdAt",
  task, settings, attempt = 0 as "isNew"`;

type QueuedRow = Omit<GroupCandidate, "task"> & { readonly task: TaskKind; readonly settings: unknown };

const toCandidate = (row: QueuedRow): GroupCandidate => ({ ...row, task: parseTask(row) });

/** As the index has it. */
const KEY_OR_NIL = Prisma.sql`coalesce(api_key_id, '00000000-0000-0000-0000-000000000000')`;

const canStart = (pool: string, presets: readonly string[]): Prisma.Sql => Prisma.sql`
  pool = ${pool} and state = 'QUEUED' and not parked and preset = any(${[...presets]}::text[])
  and (not_before is null or not_before <= now()) and (deadline_at is null or deadline_at > now())`;

/** Of a row with the columns tenant_id, user_id and api_key_id: none of its limits of what runs is reached. */
const mayRunMore = Prisma.sql`
  not exists (
    select 1 from limits l where l.kind = 'RUNNING' and l.held >= l.max and (l.tenant_id, l.level, l.subject_id) in (
      ('00000000-0000-0000-0000-000000000000', 'PLATFORM', '00000000-0000-0000-0000-000000000000'),
      (of.tenant_id, 'TENANT', of.tenant_id), (of.tenant_id, 'MEMBER', of.user_id), (of.tenant_id, 'API_KEY', of.api_key_id)
    )
  )`;

/**
 * The heads of a pool's queue that could start now on workers with these presets, per class oldest first; locked. Those of
 * suspended tenants are parked, out of the index; the list of tenants, read once, catches what was queued since.
 *
 * Most often nobody's limit of what runs is reached, and the first rows of the queue are the answer. Otherwise the heads of
 * everybody who may run more are: as many index lookups as members and keys have something queued, however much that is.
 */
export async function listCandidates(
  tx: Tx,
  pool: string,
  { presets, limit }: CandidateRequest,
): Promise<readonly GroupCandidate[]> {
  const heads = await tx.$queryRaw<(QueuedRow & { mayRun: boolean })[]>`
    select ${COLUMNS}, ${mayRunMore} as "mayRun" from (
      select * from generation
      where ${canStart(pool, presets)} and tenant_id <> all(array(select id from tenant where suspended_at is not null))
      order by priority, created_at, id
      limit ${limit}::int
      for update skip locked
    ) as of`;
  if (heads.every(({ mayRun }) => mayRun)) return heads.map(toCandidate);
  const others = await tx.$queryRaw<QueuedRow[]>`
    with recursive queued as (
      (select tenant_id, user_id, ${KEY_OR_NIL} as api_key_id from generation where pool = ${pool} and state = 'QUEUED' and not parked
        order by tenant_id, user_id, ${KEY_OR_NIL} limit 1)
      union all
      select next.* from queued q, lateral (
        select tenant_id, user_id, ${KEY_OR_NIL} as api_key_id from generation
        where pool = ${pool} and state = 'QUEUED' and not parked
          and (tenant_id, user_id, ${KEY_OR_NIL}) > (q.tenant_id, q.user_id, q.api_key_id)
        order by tenant_id, user_id, ${KEY_OR_NIL} limit 1
      ) as next
    ), open as materialized (
      select * from queued as of where ${mayRunMore} and tenant_id <> all(array(select id from tenant where suspended_at is not null))
    )
    select head.* from open as of, lateral (
      select ${COLUMNS} from generation
      where ${canStart(pool, presets)} and tenant_id = of.tenant_id and user_id = of.user_id
        and ${KEY_OR_NIL} = of.api_key_id
      order by priority, created_at, id
      limit ${limit}::int
      for update skip locked
    ) as head
    order by priority, "createdAt", id
    limit ${limit}::int`;
  return others.map(toCandidate);
}

/** Locks the limits that starts of these will count, in the order in which everybody locks them. */
export async function lockRunningLimits(tx: Tx, candidates: readonly Candidate[]): Promise<void> {
  await tx.$queryRaw`
    with of as (
      select * from unnest(${candidates.map(({ tenantId }) => tenantId)}::uuid[], ${candidates.map(({ userId }) => userId)}::uuid[],
        ${candidates.map(({ apiKeyId }) => apiKeyId ?? NIL)}::uuid[]) as c (tenant_id, user_id, api_key_id)
    )
    select count(*)::int from (
      select 1 from limits l where l.kind in ('RUNNING', 'QUEUED') and (l.tenant_id, l.level, l.subject_id) in (
        select '00000000-0000-0000-0000-000000000000'::uuid, 'PLATFORM'::limit_level, '00000000-0000-0000-0000-000000000000'::uuid
        union select tenant_id, 'TENANT', tenant_id from of union select tenant_id, 'MEMBER', user_id from of union select tenant_id, 'API_KEY', api_key_id from of
      )
      order by l.kind, l.level, l.tenant_id, l.subject_id for update
    ) as locked`;
}

/** Queued generations whose deadline has passed. */
export async function listPastDeadline(tx: Tx, limit: number): Promise<readonly string[]> {
  const rows = await tx.$queryRaw<{ id: string }[]>`
    select id from generation where state = 'QUEUED' and deadline_at <= now() order by deadline_at limit ${limit}::int`;
  return rows.map(({ id }) => id);
}
