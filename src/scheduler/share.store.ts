import { NIL } from "uuid";
import type { Tx } from "../platform/database.ts";
import type { StoredTag } from "./fair-share.ts";

export async function listTags(tx: Tx, pool: string): Promise<readonly StoredTag[]> {
  const rows = await tx.fairShareTag.findMany({ where: { pool } });
  return rows.map(({ tenantId, userId, tag }) => ({ tenantId, userId: userId === NIL ? null : userId, tag }));
}

/** Those that are stored already are replaced; of a tenant that was erased nothing is stored any more. */
export async function saveTags(tx: Tx, pool: string, tags: readonly StoredTag[]): Promise<void> {
  if (tags.length === 0) return;
  await tx.$executeRaw`
    insert into fair_share_tag (pool, tenant_id, user_id, tag)
    select ${pool}, * from unnest(${tags.map(({ tenantId }) => tenantId)}::uuid[], ${tags.map(({ userId }) => userId ?? NIL)}::uuid[],
      ${tags.map(({ tag }) => tag)}::float8[]) as t (tenant_id, user_id, tag)
    where exists (select 1 from tenant where id = t.tenant_id and erased_at is null)
    on conflict (pool, tenant_id, user_id) do update set tag = excluded.tag`;
}
