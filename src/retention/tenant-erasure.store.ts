/** Erasing tenants: first nobody can enter, then rows go in small transactions, then the tenant is marked as empty. */
import type { Tenant as TenantRow } from "../generated/prisma/client.ts";
import type { Tx } from "../platform/database.ts";

/** Whether the installation itself lives in it: that of the first start. */
export async function isFirstTenant(tx: Tx, id: string): Promise<boolean> {
  return (await tx.tenant.findFirst({ orderBy: { id: "asc" } }))?.id === id;
}

/** Nobody can enter any more, and nothing of it is claimed. People who are members of no other tenant are gone with that. */
export async function closeTenant(tx: Tx, tenantId: string): Promise<TenantRow> {
  const members = await tx.membership.findMany({ where: { tenantId }, select: { userId: true } });
  const keys = await tx.apiKey.findMany({ where: { tenantId }, select: { userId: true } });
  const userIds = [...new Set([...members, ...keys].map(({ userId }) => userId))];
  await tx.apiKey.deleteMany({ where: { tenantId } });
  await tx.membership.deleteMany({ where: { tenantId } });
  const alone = { id: { in: userIds }, memberships: { none: {} }, apiKeys: { none: {} }, isPlatformAdmin: false };
  await tx.identity.deleteMany({ where: { user: alone } });
  await tx.user.deleteMany({ where: alone });
  await tx.$executeRaw`
    update tenant set name = 'erased', erased_at = now(), suspended_at = coalesce(suspended_at, now()), version = version + 1,
      outputs_days = null, inputs_days = null, prompts_days = null
    where id = ${tenantId}::uuid`;
  return tx.tenant.findUniqueOrThrow({ where: { id: tenantId } });
}

/** Tenants that are erased and may have rows or bytes still. */
export async function listToEmpty(tx: Tx): Promise<readonly string[]> {
  const rows = await tx.tenant.findMany({
    where: { erasedAt: { not: null }, emptiedAt: null },
    select: { id: true },
    orderBy: { id: "asc" },
  });
  return rows.map(({ id }) => id);
}

/** Batches that nobody has canceled yet. */
export async function listUncanceledBatches(tx: Tx, tenantId: string): Promise<readonly string[]> {
  const where = { tenantId, finishedAt: null, cancelRequestedAt: null, acceptedAt: { not: null } };
  return (await tx.batch.findMany({ where, select: { id: true } })).map(({ id }) => id);
}

/** Generations that are queued or run: queued ones first. */
export async function listOpen(
  tx: Tx,
  tenantId: string,
  limit: number,
): Promise<readonly { readonly id: string; readonly isAsked: boolean }[]> {
  return tx.$queryRaw<{ id: string; isAsked: boolean }[]>`
    select id, cancel_requested_at is not null as "isAsked" from generation
    where tenant_id = ${tenantId}::uuid and finished_at is null order by cancel_requested_at nulls first, state, id limit ${limit}::int`;
}

/** Deletes some generations with all that belongs to them; their rows are locked first, as everywhere. @returns how many */
export async function deleteGenerations(tx: Tx, tenantId: string, limit: number): Promise<number> {
  const rows = await tx.$queryRaw<{ id: string }[]>`
    select id from generation where tenant_id = ${tenantId}::uuid order by id limit ${limit}::int for update`;
  const ids = rows.map(({ id }) => id);
  const ofThem = { generationId: { in: ids } };
  await tx.reservation.deleteMany({ where: ofThem });
  await tx.moderationVerdict.deleteMany({ where: ofThem });
  await tx.image.deleteMany({ where: ofThem });
  await tx.attempt.deleteMany({ where: ofThem });
  await tx.milestone.deleteMany({ where: ofThem });
  await tx.generation.deleteMany({ where: { id: { in: ids } } });
  return ids.length;
}

/** Deletes some items of batches. @returns how many */
export async function deleteItems(tx: Tx, tenantId: string, limit: number): Promise<number> {
  return tx.$executeRaw`
    delete from batch_item where ctid in (
      select i.ctid from batch b join batch_item i on i.batch_id = b.id where b.tenant_id = ${tenantId}::uuid limit ${limit}::int
    )`;
}

/** Deletes some entries of the ledger and the audit log, whose head stays. @returns how many */
export async function deleteRecords(tx: Tx, tenantId: string, limit: number): Promise<number> {
  const [row] = await tx.$queryRaw<{ count: number }[]>`
    select erase_records(${tenantId}::uuid, ${limit}::int) as count`;
  return row?.count ?? 0;
}

/** Deletes what there are few of; generations and items are gone before. */
export async function deleteRest(tx: Tx, tenantId: string): Promise<void> {
  const where = { tenantId };
  await tx.reservation.deleteMany({ where });
  await tx.batch.deleteMany({ where });
  await tx.upload.deleteMany({ where });
  await tx.idempotencyRecord.deleteMany({ where });
  await tx.usageDay.deleteMany({ where });
  await tx.moderationVerdict.deleteMany({ where });
  await tx.moderationPolicy.deleteMany({ where });
  await tx.limit.deleteMany({ where });
  await tx.fairShareTag.deleteMany({ where });
  await tx.fairShareMinute.deleteMany({ where });
}

/** False while there are rows, which a call that was under way has written meanwhile. */
export async function markEmptied(tx: Tx, tenantId: string): Promise<boolean> {
  const where = { tenantId };
  const left =
    (await tx.generation.count({ where })) + (await tx.batch.count({ where })) + (await tx.upload.count({ where }));
  if (left > 0) return false;
  await tx.tenant.update({ where: { id: tenantId }, data: { emptiedAt: new Date() } });
  return true;
}
