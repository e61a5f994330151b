import { NIL } from "uuid";
import { Prisma } from "../generated/prisma/client.ts";
import type { TaskKind } from "../generated/prisma/enums.ts";
import { parseTask } from "../generation/settings.ts";
import type { Tx } from "../platform/database.ts";
import type { QueueName, WaitingQueue } from "./fair-share.ts";
import type { GroupCandidate } from "./group-filling.ts";

const COLUMNS = Prisma.sql`id, tenant_id as "tenantId", user_id as "userId", api_key_id as "apiKeyId", preset, priority,
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
 * The queues of a pool that have something, whether it could start now or not: as many index lookups as there are queues,
 * however much waits in them. Those whose limits of what runs are reached are left out. Those of suspended tenants are
 * parked, out of the index; the list of tenants, read once, catches what was queued since.
 */
export async function listQueues(tx: Tx, pool: string): Promise<readonly WaitingQueue[]> {
  return tx.$queryRaw<WaitingQueue[]>`
    with recursive queued as (
      (select tenant_id, user_id, ${KEY_OR_NIL} as api_key_id, priority, created_at
        from generation where pool = ${pool} and state = 'QUEUED' and not parked
        order by tenant_id, user_id, ${KEY_OR_NIL}, priority, created_at limit 1)
      union all
      select next.* from queued q, lateral (
        select tenant_id, user_id, ${KEY_OR_NIL} as api_key_id, priority, created_at from generation
        where pool = ${pool} and state = 'QUEUED' and not parked
          and (tenant_id, user_id, ${KEY_OR_NIL}, priority) > (q.tenant_id, q.user_id, q.api_key_id, q.priority)
        order by tenant_id, user_id, ${KEY_OR_NIL}, priority, created_at limit 1
      ) as next
    )
    select tenant_id as "tenantId", user_id as "userId", nullif(api_key_id, '00000000-0000-0000-0000-000000000000') as "apiKeyId",
      priority, created_at as since
    from queued as of
    where ${mayRunMore} and tenant_id <> all(array(select id from tenant where suspended_at is not null))`;
}

export interface HeadsRequest {
  readonly pool: string;
  readonly queue: QueueName;
  readonly presets: readonly string[];
  readonly limit: number;
}

/** The first ones of a queue that could start now, oldest first; locked. */
export async function listHeads(tx: Tx, { pool, queue, presets, limit }: HeadsRequest): Promise<GroupCandidate[]> {
  const { tenantId, userId, apiKeyId, priority } = queue;
  const rows = await tx.$queryRaw<QueuedRow[]>`
    select ${COLUMNS} from generation
    where ${canStart(pool, presets)} and tenant_id = ${tenantId}::uuid and user_id = ${userId}::uuid
      and ${KEY_OR_NIL} = ${apiKeyId ?? NIL}::uuid and priority = ${priority}::priority
    order by created_at, id
    limit ${limit}::int
    for update skip locked`;
  return rows.map(toCandidate);
}

/** Of all that could start now, per class oldest first; locked. */
export async function listOldest(
  tx: Tx,
  { pool, presets, limit }: Omit<HeadsRequest, "queue">,
): Promise<readonly GroupCandidate[]> {
  const rows = await tx.$queryRaw<QueuedRow[]>`
    select ${COLUMNS} from generation
    where ${canStart(pool, presets)} and tenant_id <> all(array(select id from tenant where suspended_at is not null))
    order by priority, created_at, id
    limit ${limit}::int
    for update skip locked`;
  return rows.map(toCandidate);
}

/** Locks the limits that starts of these will count, in the order in which everybody locks them. */
export async function lockRunningLimits(tx: Tx, candidates: readonly QueueName[]): Promise<void> {
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
