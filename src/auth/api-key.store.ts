/** Keys as their administration sees them, and the members that they act for. */
import type { ApiKey as ApiKeyRow, Membership, User } from "../generated/prisma/client.ts";
import type { Tx } from "../platform/database.ts";
import type { PageRequest } from "../platform/page.ts";

/** Keys of a tenant, or of one of its members; newest first, whichever side the page is taken from. */
export async function listApiKeys(
  tx: Tx,
  { tenantId, userId }: { tenantId: string; userId: string | undefined },
  { after, before, from, limit }: PageRequest,
): Promise<readonly ApiKeyRow[]> {
  const rows = await tx.apiKey.findMany({
    where: {
      tenantId,
      ...(userId === undefined ? {} : { userId }),
      id: { ...(after === undefined ? {} : { lt: after }), ...(before === undefined ? {} : { gt: before }) },
    },
    orderBy: { id: from === "newest" ? "desc" : "asc" },
    take: limit,
  });
  return from === "newest" ? rows : rows.reverse();
}

export async function findApiKey(tx: Tx, id: string): Promise<ApiKeyRow | undefined> {
  return (await tx.apiKey.findUnique({ where: { id } })) ?? undefined;
}

export async function readApiKeys(tx: Tx, ids: readonly string[]): Promise<ReadonlyMap<string, ApiKeyRow>> {
  const rows = await tx.apiKey.findMany({ where: { id: { in: [...ids] } } });
  return new Map(rows.map((row) => [row.id, row]));
}

/** Until the transaction ends nobody else changes the key. */
export async function lockApiKey(tx: Tx, id: string): Promise<ApiKeyRow | undefined> {
  await tx.$queryRaw`select 1 from api_key where id = ${id}::uuid for update`;
  return findApiKey(tx, id);
}

/** Whether the key works no longer, by the clock of the database. */
export async function hasEnded(tx: Tx, id: string): Promise<boolean> {
  const rows = await tx.$queryRaw<unknown[]>`
    select 1 from api_key where id = ${id}::uuid and least(revoked_at, expires_at) <= now()`;
  return rows.length > 0;
}

/** Ends a key after some seconds, unless it ends earlier anyway. */
export async function endApiKey(
  tx: Tx,
  id: string,
  { inSeconds, replacedBy }: { inSeconds: number; replacedBy?: string },
): Promise<ApiKeyRow> {
  await tx.$executeRaw`
    update api_key set revoked_at = least(revoked_at, now() + make_interval(secs => ${inSeconds})),
      replaced_by = coalesce(${replacedBy ?? null}::uuid, replaced_by), version = version + 1
    where id = ${id}::uuid`;
  return tx.apiKey.findUniqueOrThrow({ where: { id } });
}

/** Ends all keys of a member at once. @returns how many there were */
export async function endApiKeysOf(
  tx: Tx,
  { tenantId, userId }: { tenantId: string; userId: string },
): Promise<number> {
  return tx.$executeRaw`
    update api_key set revoked_at = now(), version = version + 1
    where tenant_id = ${tenantId}::uuid and user_id = ${userId}::uuid and (revoked_at is null or revoked_at > now())`;
}

export type MemberRow = Membership & { readonly user: User };

/** Until the transaction ends nobody changes or ends the membership. */
export async function lockMember(tx: Tx, key: { tenantId: string; userId: string }): Promise<MemberRow | undefined> {
  await tx.$queryRaw`
    select 1 from membership where tenant_id = ${key.tenantId}::uuid and user_id = ${key.userId}::uuid for update`;
  return (await tx.membership.findUnique({ where: { tenantId_userId: key }, include: { user: true } })) ?? undefined;
}
