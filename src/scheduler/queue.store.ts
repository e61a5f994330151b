import type { TaskKind } from "../generated/prisma/enums.ts";
import { parseTask } from "../generation/settings.ts";
import type { Tx } from "../platform/database.ts";
import type { GroupCandidate } from "./group-filling.ts";

/**
 * The heads of a pool's queue that could start now on workers with these presets, per class oldest first; locked. Those of
 * suspended tenants are parked, out of the index; the list of tenants, read once, catches what was queued since.
 */
export async function listCandidates(
  tx: Tx,
  pool: string,
  { presets, limit }: { presets: readonly string[]; limit: number },
): Promise<readonly GroupCandidate[]> {
  const rows = await tx.$queryRaw<(Omit<GroupCandidate, "task"> & { task: TaskKind; settings: unknown })[]>`
    select id, tenant_id as "tenantId", preset, priority, created_at as "createdAt", task, settings, attempt = 0 as "isNew"
    from generation
    where pool = ${pool} and state = 'QUEUED' and not parked and preset = any(${[...presets]}::text[])
      and (not_before is null or not_before <= now()) and (deadline_at is null or deadline_at > now())
      and tenant_id <> all(array(select id from tenant where suspended_at is not null))
    order by priority, created_at, id
    limit ${limit}::int
    for update skip locked`;
  return rows.map((row) => ({ ...row, task: parseTask(row) }));
}

/** Queued generations whose deadline has passed. */
export async function listPastDeadline(tx: Tx, limit: number): Promise<readonly string[]> {
  const rows = await tx.$queryRaw<{ id: string }[]>`
    select id from generation where state = 'QUEUED' and deadline_at <= now() order by deadline_at limit ${limit}::int`;
  return rows.map(({ id }) => id);
}
