import type { Tx } from "../platform/database.ts";
import { newId } from "../platform/ids.ts";
import { hashSecret, prefixOf } from "./api-key.ts";
import type { Principal } from "./principal.ts";

/** The principal of a key that is not revoked, whatever its tenant: the one question that may be asked without naming one. */
export async function findPrincipal(tx: Tx, secret: string): Promise<Principal | undefined> {
  const [principal] = await tx.$queryRaw<Principal[]>`select * from auth_lookup(${hashSecret(secret)})`;
  return principal;
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
