/** Deleting generations and pictures: rows are marked, once, and what they stored is free again. */
import type { GenerationState } from "../generated/prisma/enums.ts";
import type { Tx } from "../platform/database.ts";

/** A picture whose bytes are to be deleted. */
export interface Tombstone {
  readonly id: string;
  readonly storageKey: string;
}

export interface DeletedImage extends Tombstone {
  readonly sizeBytes: number;
}

/** A generation, deleted or not. It stays as it is until the transaction ends. */
export interface LockedGeneration {
  readonly id: string;
  readonly tenantId: string;
  readonly userId: string;
  readonly apiKeyId: string | null;
  readonly isDeleted: boolean;
  readonly state: GenerationState;
}

export async function lockGenerationToDelete(tx: Tx, id: string): Promise<LockedGeneration | undefined> {
  const [row] = await tx.$queryRaw<LockedGeneration[]>`
    select id, tenant_id as "tenantId", user_id as "userId", api_key_id as "apiKeyId", deleted_at is not null as "isDeleted", state
    from generation where id = ${id}::uuid for update`;
  return row;
}

/** The generation of a picture, deleted or not. */
export async function findGenerationOfImage(tx: Tx, imageId: string): Promise<string | undefined> {
  return (await tx.image.findUnique({ where: { id: imageId } }))?.generationId;
}

/** Marks a generation that has ended, and its pictures; every text it has is gone with that. @returns the pictures */
export async function deleteGenerationRow(tx: Tx, { id }: { readonly id: string }): Promise<readonly DeletedImage[]> {
  await tx.$executeRaw`update generation set deleted_at = now(), answer = null where id = ${id}::uuid and deleted_at is null`;
  await deleteTexts(tx, [id]);
  return tx.$queryRaw<DeletedImage[]>`
    update image set deleted_at = now() where generation_id = ${id}::uuid and deleted_at is null
    returning id, storage_key as "storageKey", size_bytes as "sizeBytes"`;
}

/** Marks a picture. @returns nothing when it was marked before */
export async function deleteImageRow(tx: Tx, id: string): Promise<readonly DeletedImage[]> {
  return tx.$queryRaw<DeletedImage[]>`
    update image set deleted_at = now() where id = ${id}::uuid and deleted_at is null
    returning id, storage_key as "storageKey", size_bytes as "sizeBytes"`;
}

/**
 * Empties the texts of generations that have ended: of their settings, of their items in batches, of messages, and the hash of
 * what was asked for under an idempotency key, which was written at the same time as the generation.
 */
export async function deleteTexts(tx: Tx, generationIds: readonly string[]): Promise<void> {
  const ids = [...generationIds];
  await tx.$executeRaw`
    with emptied as (
      update generation set texts_deleted_at = now(), settings = without_texts(settings), failure_message = null
      where id = any(${ids}::uuid[]) and texts_deleted_at is null
      returning id, created_at, batch_id, batch_index
    ), attempts as (
      update attempt set message = null, checkpoint = null from emptied
      where generation_id = emptied.id and (message is not null or checkpoint is not null)
    ), milestones as (
      update milestone set message = null from emptied where generation_id = emptied.id and message is not null
    ), items as (
      update batch_item i set settings = without_texts(settings) from emptied where i.batch_id = emptied.batch_id and i.index = emptied.batch_index
    )
    update idempotency_record r set body_hash = '' from emptied where r.created_at = emptied.created_at and r.created_id = emptied.id`;
}

/** Deleted pictures whose bytes may still be there, after one of them. */
export async function listToPurge(
  tx: Tx,
  { after, limit }: { after: string; limit: number },
): Promise<readonly Tombstone[]> {
  return tx.$queryRaw<Tombstone[]>`
    select id, storage_key as "storageKey" from image
    where deleted_at is not null and purged_at is null and id > ${after}::uuid order by id limit ${limit}::int`;
}

export async function markPurged(tx: Tx, ids: readonly string[]): Promise<void> {
  await tx.$executeRaw`update image set purged_at = now() where id = any(${[...ids]}::uuid[]) and purged_at is null`;
}
