import type { Tx } from "../platform/database.ts";
import { newId } from "../platform/ids.ts";
import { hashSecret, prefixOf } from "./api-key.ts";
import type { Principal } from "./principal.ts";

/** The principal of a key that is not revoked. */
export async function findPrincipal(tx: Tx, secret: string): Promise<Principal | undefined> {
  const key = await tx.apiKey.findUnique({
    where: { hash: hashSecret(secret), revokedAt: null },
    include: { membership: { include: { user: true } } },
  });
  if (key === null) return undefined;
  const { tenantId, userId, membership } = key;
  return {
    tenantId,
    userId,
    apiKeyId: key.id,
    role: membership.role,
    isPlatformAdmin: membership.user.isPlatformAdmin,
  };
}

export interface NewApiKey {
  readonly tenantId: string;
  readonly userId: string;
  readonly name: string;
  readonly secret: string;
}

export async function insertApiKey(tx: Tx, { tenantId, userId, name, secret }: NewApiKey): Promise<void> {
  await tx.apiKey.create({
    data: { id: newId(), tenantId, userId, name, prefix: prefixOf(secret), hash: hashSecret(secret) },
  });
}

/** Revokes every key of this name that a member has in a tenant. */
export async function revokeApiKeys(tx: Tx, key: Omit<NewApiKey, "secret">): Promise<void> {
  await tx.apiKey.updateMany({ where: { ...key, revokedAt: null }, data: { revokedAt: new Date() } });
}
