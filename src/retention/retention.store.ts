/** What tenants keep no longer: found by index, oldest first, and deleted in small transactions. */
import type { Tenant as TenantRow } from "../generated/prisma/client.ts";
import type { Tx } from "../platform/database.ts";
import { type DeletedImage, deleteTexts } from "./deletion.store.ts";

/** Null keeps for ever. */
export interface RetentionDays {
  readonly outputsDays: number | null;
  readonly inputsDays: number | null;
  readonly promptsDays: number | null;
}

export async function saveRetention(tx: Tx, tenantId: string, days: RetentionDays): Promise<TenantRow> {
  return tx.tenant.update({ where: { id: tenantId }, data: { ...days, version: { increment: 1 } } });
}

/** A tenant that does not keep everything for ever. */
export interface KeepingTenant extends RetentionDays {
  readonly id: string;
}

export async function listKeepingTenants(tx: Tx): Promise<readonly KeepingTenant[]> {
  return tx.$queryRaw<KeepingTenant[]>`
    select id, outputs_days as "outputsDays", inputs_days as "inputsDays", prompts_days as "promptsDays" from tenant
    where coalesce(outputs_days, inputs_days, prompts_days) is not null order by id`;
}

/** Things of a tenant that are older than its days, at most that many. */
export interface Outdated {
  readonly tenantId: string;
  readonly days: number;
  readonly limit: number;
}

/** A picture and who stored it. */
export interface OutdatedImage extends DeletedImage {
  readonly userId: string;
  readonly apiKeyId: string | null;
}

/** Marks pictures as deleted. */
export async function deleteOldImages(tx: Tx, { tenantId, days, limit }: Outdated): Promise<readonly OutdatedImage[]> {
  return tx.$queryRaw<OutdatedImage[]>`
    with old as (
      select id from image
      where tenant_id = ${tenantId}::uuid and deleted_at is null and created_at < now() - make_interval(days => ${days}::int)
      order by created_at limit ${limit}::int for update skip locked
    )
    update image set deleted_at = now() from old, generation g where image.id = old.id and g.id = image.generation_id
    returning image.id, storage_key as "storageKey", size_bytes as "sizeBytes", g.user_id as "userId", g.api_key_id as "apiKeyId"`;
}

/** @returns how many answers are gone */
export async function deleteOldAnswers(tx: Tx, { tenantId, days, limit }: Outdated): Promise<number> {
  return tx.$executeRaw`
    update generation set answer = null where id in (
      select id from generation
      where tenant_id = ${tenantId}::uuid and answer is not null and finished_at < now() - make_interval(days => ${days}::int)
      order by finished_at limit ${limit}::int for update skip locked
    )`;
}

/** Ends uploads: their bytes go as those of any upload that expires. @returns how many */
export async function endOldUploads(tx: Tx, { tenantId, days, limit }: Outdated): Promise<number> {
  return tx.$executeRaw`
    update upload set expires_at = now() where id in (
      select id from upload
      where tenant_id = ${tenantId}::uuid and status = 'READY' and created_at < now() - make_interval(days => ${days}::int)
        and (expires_at is null or expires_at > now())
      order by created_at limit ${limit}::int for update skip locked
    )`;
}

/** Empties the texts of generations that ended long ago. @returns how many */
export async function deleteOldTexts(tx: Tx, { tenantId, days, limit }: Outdated): Promise<number> {
  const rows = await tx.$queryRaw<{ id: string }[]>`
    select id from generation
    where tenant_id = ${tenantId}::uuid and texts_deleted_at is null and finished_at < now() - make_interval(days => ${days}::int)
    order by finished_at limit ${limit}::int for update skip locked`;
  await deleteTexts(
    tx,
    rows.map(({ id }) => id),
  );
  return rows.length;
}

/** A batch that ended long ago and has texts. */
export async function findOldBatch(tx: Tx, { tenantId, days }: Outdated): Promise<string | undefined> {
  const [row] = await tx.$queryRaw<{ id: string }[]>`
    select id from batch
    where tenant_id = ${tenantId}::uuid and texts_deleted_at is null and finished_at < now() - make_interval(days => ${days}::int)
    order by finished_at limit 1`;
  return row?.id;
}

/** Empties the texts of items of a batch from an index on. @returns false behind the last item */
export async function deleteItemTexts(
  tx: Tx,
  batchId: string,
  { from, limit }: { from: number; limit: number },
): Promise<boolean> {
  await tx.$executeRaw`
    update batch_item set settings = without_texts(settings)
    where batch_id = ${batchId}::uuid and index >= ${from}::int and index < ${from}::int + ${limit}::int
      and settings <> without_texts(settings)`;
  const batch = await tx.batch.findUnique({ where: { id: batchId }, select: { total: true } });
  return batch !== null && from + limit < batch.total;
}

/** Empties the texts that the items of a batch have in common, after those of the items. */
export async function deleteBatchTexts(tx: Tx, batchId: string): Promise<void> {
  await tx.$executeRaw`
    update batch set settings = without_texts(settings), texts_deleted_at = now() where id = ${batchId}::uuid`;
}

/** Empties the hashes of what was asked for under idempotency keys, of which a short text could be guessed. @returns how many */
export async function deleteOldHashes(tx: Tx, { tenantId, days, limit }: Outdated): Promise<number> {
  return tx.$executeRaw`
    update idempotency_record set body_hash = '' where ctid in (
      select ctid from idempotency_record
      where tenant_id = ${tenantId}::uuid and body_hash <> '' and created_at < now() - make_interval(days => ${days}::int)
      order by created_at limit ${limit}::int for update skip locked
    )`;
}

/**
 * Since when attempts of a pool are still to be counted, in its turns or in the fairness report: they are the journal of both.
 * It only moves on.
 */
export async function listUncounted(tx: Tx): Promise<ReadonlyMap<string, Date>> {
  const rows = await tx.$queryRaw<{ pool: string; since: Date }[]>`
    select name as pool, since from pool, lateral (
      select least(accounted_until, max(saved_at)) as since from fair_share_tag where pool = name
    ) as uncounted
    where since is not null`;
  return new Map(rows.map(({ pool, since }) => [pool, since]));
}

/** Of how many generations they are gone, and how many rows that were. */
export interface Pruned {
  readonly generations: number;
  readonly milestones: number;
  readonly attempts: number;
}

/**
 * Deletes milestones and attempts of generations of any tenant that ended so many days ago, the oldest first. The row of the
 * generation is locked before what belongs to it, as everywhere.
 */
export async function pruneGenerations(
  tx: Tx,
  { days, uncounted, limit }: { days: number; uncounted: ReadonlyMap<string, Date>; limit: number },
): Promise<Pruned> {
  const since = JSON.stringify(Object.fromEntries(uncounted));
  const [pruned] = await tx.$queryRaw<Pruned[]>`
    with due as materialized (
      select id from generation
      where finished_at < now() - make_interval(days => ${days}::int) and pruned_at is null and (not is_dead_letter or deleted_at is not null)
        and finished_at <= coalesce((${since}::jsonb ->> pool)::timestamptz, 'infinity')
      order by finished_at limit ${limit}::int for update skip locked
    ), milestones as (
      delete from milestone where generation_id in (select id from due) returning 1
    ), attempts as (
      delete from attempt where generation_id in (select id from due) returning 1
    ), generations as (
      update generation set pruned_at = now() where id in (select id from due) returning 1
    )
    select (select count(*) from generations)::int as generations, (select count(*) from milestones)::int as milestones,
      (select count(*) from attempts)::int as attempts`;
  return pruned ?? { generations: 0, milestones: 0, attempts: 0 };
}
