/** Reading what belongs to a tenant: its members as its rights say, and administrators of the platform, which is noted. */
import { appendReading, PLATFORM_CHAIN } from "../audit/audit.store.ts";
import { type Action, authorize, authorizePlatform } from "../auth/authorization.ts";
import { actorOf, type Principal } from "../auth/principal.ts";
import { asPlatform, asTenant } from "../platform/access.ts";
import type { Database, Tx } from "../platform/database.ts";
import { fromGlobalId, notFound } from "../platform/ids.ts";

/** What is read, and of whom. */
export interface TenantReading {
  readonly action: Extract<Action, `${string}:read`>;
  /** Global id; the caller's own tenant when undefined. */
  readonly tenantId: string | undefined;
  /** Of the input that names the tenant. */
  readonly path: readonly string[];
}

/** Another tenant's is read for administrators of the platform only; its audit log and the platform's tell of it. */
export async function readTenant<Found>(
  db: Database,
  principal: Principal,
  { action, tenantId: globalId, path }: TenantReading,
  read: (tx: Tx, tenantId: string) => Promise<Found>,
): Promise<Found> {
  const tenantId = tenantIdOf(principal, globalId, path);
  if (tenantId === principal.tenantId) {
    authorize(principal, action);
    return db.transaction(asTenant(tenantId), (tx) => read(tx, tenantId));
  }
  authorizePlatform(principal);
  return db.transaction(asPlatform, async (tx) => {
    await requireTenant(tx, tenantId, { globalId, path });
    const found = await read(tx, tenantId);
    const reading = { actor: actorOf(principal), action, target: { type: "Tenant", id: tenantId } };
    await appendReading(tx, tenantId, reading);
    return found;
  });
}

/** What belongs to all tenants, for administrators of the platform; its audit log tells of it. */
export async function readAllTenants<Found>(
  db: Database,
  principal: Principal,
  action: string,
  read: (tx: Tx) => Promise<Found>,
): Promise<Found> {
  authorizePlatform(principal);
  return db.transaction(asPlatform, async (tx) => {
    const found = await read(tx);
    const target = { type: "Platform", id: PLATFORM_CHAIN };
    await appendReading(tx, PLATFORM_CHAIN, { actor: actorOf(principal), action, target });
    return found;
  });
}

export const tenantIdOf = (principal: Principal, globalId: string | undefined, path: readonly string[]): string =>
  globalId === undefined ? principal.tenantId : fromGlobalId("Tenant", globalId, path);

export async function requireTenant(
  tx: Tx,
  tenantId: string,
  { globalId = "", path }: { globalId: string | undefined; path: readonly string[] },
): Promise<void> {
  if ((await tx.tenant.count({ where: { id: tenantId, erasedAt: null } })) === 0)
    throw notFound("Tenant", globalId, path);
}
