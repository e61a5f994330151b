import type { ApiKey as ApiKeyRow } from "../generated/prisma/client.ts";
import type { Role, Scope } from "../generated/prisma/enums.ts";
import type { Tx } from "../platform/database.ts";
import { newId } from "../platform/ids.ts";
import { hashSecret, prefixOf } from "./api-key.ts";
import type { SignIn } from "./oidc.ts";
import type { CallerTenant, Principal } from "./principal.ts";

/** Why a caller that was known is refused. */
export type Refusal = "REVOKED" | "EXPIRED" | "REMOVED";

/** A key that exists, and whether it still works. */
export type KeyLookup = { readonly principal: Principal } | { readonly refusal: Refusal };

interface KeyRow extends Omit<Principal, "tenants"> {
  readonly tenantName: string;
  readonly refusal: Refusal | null;
}

/** Whatever its tenant: a question that may be asked without naming one. Notes once a minute that the key is in use. */
export async function lookUpKey(tx: Tx, secret: string): Promise<KeyLookup | undefined> {
  const [row] = await tx.$queryRaw<KeyRow[]>`select * from auth_lookup(${hashSecret(secret)})`;
  if (row === undefined) return undefined;
  const { refusal, tenantName, ...key } = row;
  if (refusal !== null) return { refusal };
  const { tenantId: id, role, isSuspended } = key;
  const restrictions = { scopes: orAll(key.scopes), allowedPresets: orAll(key.allowedPresets) };
  return { principal: { ...key, ...restrictions, tenants: [{ id, name: tenantName, role, isSuspended }] } };
}

/** The principal of a key that works. */
export async function findPrincipal(tx: Tx, secret: string): Promise<Principal | undefined> {
  const found = await lookUpKey(tx, secret);
  return found && "principal" in found ? found.principal : undefined;
}

interface PersonRow {
  readonly userId: string;
  readonly isPlatformAdmin: boolean;
  /** Null in the only row of a person who is a member nowhere. */
  readonly tenantId: string | null;
  readonly tenantName: string;
  readonly role: Role;
  readonly isSuspended: boolean;
}

export interface Person {
  readonly userId: string;
  readonly isPlatformAdmin: boolean;
  readonly tenants: readonly CallerTenant[];
}

/** Who signed in, known by the issuer's name for them; at the first time by their verified e-mail address. */
export async function findPerson(
  tx: Tx,
  { issuer, subject, email }: Omit<SignIn, "expiresAt">,
): Promise<Person | undefined> {
  const rows = await tx.$queryRaw<PersonRow[]>`
    select * from auth_sign_in(${issuer}::text, ${subject}::text, ${email}::text)`;
  const [first] = rows;
  if (first === undefined) return undefined;
  const tenants = rows.flatMap(({ tenantId: id, tenantName: name, role, isSuspended }) =>
    id === null ? [] : [{ id, name, role, isSuspended }],
  );
  return { userId: first.userId, isPlatformAdmin: first.isPlatformAdmin, tenants };
}

/** What a caller would be now. */
export interface CallerState {
  readonly role: Role | null;
  readonly isPlatformAdmin: boolean;
  readonly isSuspended: boolean;
  readonly refusal: Refusal | null;
}

/** In the order of the callers, of whatever tenants they are. */
export async function recheckCallers(tx: Tx, callers: readonly Principal[]): Promise<readonly CallerState[]> {
  const asked = callers.map(({ apiKeyId: keyId, userId, tenantId }) => ({ keyId, userId, tenantId }));
  return tx.$queryRaw<CallerState[]>`
    select role, "isPlatformAdmin", "isSuspended", refusal from auth_recheck(${JSON.stringify(asked)}::jsonb)`;
}

/** Stored lists restrict when they are not empty. */
export const orAll = <T>(list: readonly T[] | null): readonly T[] | null =>
  list === null || list.length === 0 ? null : list;

export interface NewApiKey {
  readonly tenantId: string;
  readonly userId: string;
  readonly name: string;
  readonly secret: string;
  /** Everything the member may when null. */
  readonly scopes?: readonly Scope[] | null;
  /** All when null. */
  readonly allowedPresets?: readonly string[] | null;
  readonly expiresAt?: Date | null;
}

export async function insertApiKey(
  tx: Tx,
  { tenantId, userId, name, secret, scopes, allowedPresets, expiresAt = null }: NewApiKey,
): Promise<ApiKeyRow> {
  const data = { id: newId(), tenantId, userId, name, prefix: prefixOf(secret), hash: hashSecret(secret), expiresAt };
  return tx.apiKey.create({
    data: { ...data, scopes: [...(scopes ?? [])], allowedPresets: [...(allowedPresets ?? [])] },
  });
}

/** Revokes every key of this name that a member has in a tenant. */
export async function revokeApiKeys(tx: Tx, key: Pick<NewApiKey, "tenantId" | "userId" | "name">): Promise<void> {
  await tx.apiKey.updateMany({ where: { ...key, revokedAt: null }, data: { revokedAt: new Date() } });
}
