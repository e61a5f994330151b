import type { Tx } from "../platform/database.ts";

export interface IdempotencyUse {
  readonly tenantId: string;
  readonly userId: string;
  /** The mutation. */
  readonly field: string;
  readonly key: string;
  /** SHA-256 of the input without the key. */
  readonly bodyHash: string;
  /** Of what the mutation creates. */
  readonly createdId: string;
}

/**
 * Records the first use of a key; an earlier one is returned instead. A twin that runs at the same time makes this wait
 * until the twin's transaction ends: then its record is there, or it was undone and this is the first use.
 */
export async function recordUse(
  tx: Tx,
  use: IdempotencyUse,
): Promise<{ bodyHash: string; createdId: string } | undefined> {
  const inserted = await tx.$executeRaw`
    insert into idempotency_record (tenant_id, user_id, field, key, body_hash, created_id)
    values (${use.tenantId}::uuid, ${use.userId}::uuid, ${use.field}, ${use.key}, ${use.bodyHash}, ${use.createdId}::uuid)
    on conflict do nothing`;
  if (inserted === 1) return undefined;
  const { tenantId, userId, field, key } = use;
  return tx.idempotencyRecord.findUniqueOrThrow({
    where: { tenantId_userId_field_key: { tenantId, userId, field, key } },
  });
}

/** An earlier use of a key, as far as it is known yet: `recordUse` has the last word. */
export async function findUse(
  tx: Tx,
  { tenantId, userId, field, key }: IdempotencyUse,
): Promise<{ bodyHash: string; createdId: string } | undefined> {
  const where = { tenantId_userId_field_key: { tenantId, userId, field, key } };
  return (await tx.idempotencyRecord.findUnique({ where })) ?? undefined;
}

/** Forgets uses that created nothing. */
export async function deleteUses(tx: Tx, uses: readonly IdempotencyUse[]): Promise<void> {
  const keys = uses.map(({ tenantId, userId, field, key }) => ({ tenantId, userId, field, key }));
  await tx.idempotencyRecord.deleteMany({ where: { OR: keys } });
}

/** Forgets keys that were used long ago. */
export async function deleteOldUses(tx: Tx, keepHours: number): Promise<number> {
  return tx.$executeRaw`delete from idempotency_record where created_at < now() - make_interval(hours => ${keepHours}::int)`;
}
