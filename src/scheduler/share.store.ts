import { NIL } from "uuid";
import type { Querying, Tx } from "../platform/database.ts";
import type { StoredTag, StoredTurns } from "./fair-share.ts";

/** Where the turns of a pool stand now; floors as they were stored. */
export async function readTurns(db: Querying, pool: string): Promise<StoredTurns> {
  const [stored] = await db.$queryRaw<Pick<StoredTurns, "floors">[]>`select floors from pool where name = ${pool}`;
  return { floors: stored?.floors ?? [], tags: await listTags(db, pool) };
}

/**
 * Those that were stored, moved on by what began and ended since. Attempts are the journal of the turns, so that not every
 * claim has to store tags.
 */
async function listTags(db: Querying, pool: string): Promise<readonly StoredTag[]> {
  return db.$queryRaw<StoredTag[]>`
    with saved as materialized (
      select max(saved_at) as at from fair_share_tag where pool = ${pool}
    ), charged as (
      select g.tenant_id, g.user_id, a.predicted_ms * a.share as ms
      from saved, attempt a join generation g on g.id = a.generation_id
      where a.ended_at is null and a.started_at > saved.at and g.pool = ${pool} and g.state = 'RUNNING'
      union all
      select g.tenant_id, g.user_id,
        a.share * (extract(epoch from a.ended_at - a.started_at)::float8 * 1000 - a.standby_ms - case when a.started_at > saved.at then 0 else a.predicted_ms end)
      from saved, attempt a join generation g on g.id = a.generation_id
      where a.ended_at > saved.at and g.pool = ${pool}
    ), moved as (
      select c.tenant_id, share.user_id, sum(c.ms / share.weight) as ms
      from charged c join tenant t on t.id = c.tenant_id
        cross join lateral (values (c.user_id, 1), (${NIL}::uuid, t.share_weight)) as share (user_id, weight)
      group by c.tenant_id, share.user_id
    )
    select s.tenant_id as "tenantId", nullif(s.user_id, ${NIL}::uuid) as "userId", s.tag + coalesce(m.ms, 0) as tag,
      s.floors
    from fair_share_tag s left join moved m on m.tenant_id = s.tenant_id and m.user_id = s.user_id
    where s.pool = ${pool}`;
}

/** Tags that are stored already are replaced; of a tenant that was erased nothing is stored any more. */
export async function saveTurns(tx: Tx, pool: string, { floors, tags }: StoredTurns): Promise<void> {
  if (tags.length === 0) return;
  await tx.$executeRaw`
    insert into fair_share_tag (pool, tenant_id, user_id, tag, floors, saved_at)
    select ${pool}, t.tenant_id, t.user_id, t.tag, array(select json_array_elements_text(t.floors)::float8), now()
    from unnest(${tags.map(({ tenantId }) => tenantId)}::uuid[], ${tags.map(({ userId }) => userId ?? NIL)}::uuid[],
      ${tags.map(({ tag }) => tag)}::float8[], ${tags.map((tag) => JSON.stringify(tag.floors))}::json[]) as t (tenant_id, user_id, tag, floors)
    where exists (select 1 from tenant where id = t.tenant_id and erased_at is null)
    on conflict (pool, tenant_id, user_id) do update set tag = excluded.tag, floors = excluded.floors, saved_at = excluded.saved_at`;
  await tx.$executeRaw`update pool set floors = ${[...floors]}::float8[] where name = ${pool}`;
}
