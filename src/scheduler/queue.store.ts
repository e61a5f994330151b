import type { Tx } from "../platform/database.ts";
import type { Candidate } from "./fair-share.ts";

/** The heads of a pool's queue that could start now on workers with these presets, per class oldest first; locked. */
export async function listCandidates(
  tx: Tx,
  pool: string,
  { presets, limit }: { presets: readonly string[]; limit: number },
): Promise<readonly Candidate[]> {
  return tx.$queryRaw<Candidate[]>`
    select id, tenant_id as "tenantId", preset, priority, created_at as "createdAt"
    from generation
    where pool = ${pool} and state = 'QUEUED' and preset = any(${[...presets]}::text[])
      and (not_before is null or not_before <= now()) and (deadline_at is null or deadline_at > now())
    order by priority, created_at, id
    limit ${limit}::int
    for update skip locked`;
}

/** Queued generations whose deadline has passed. */
export async function listPastDeadline(tx: Tx, limit: number): Promise<readonly string[]> {
  const rows = await tx.$queryRaw<{ id: string }[]>`
    select id from generation where state = 'QUEUED' and deadline_at <= now() order by deadline_at limit ${limit}::int`;
  return rows.map(({ id }) => id);
}
