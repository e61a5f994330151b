import type { Tenant as TenantRow } from "../generated/prisma/client.ts";
import type { Role } from "../generated/prisma/enums.ts";
import type { Tx } from "../platform/database.ts";
import { newId } from "../platform/ids.ts";
import type { PageRequest } from "../platform/page.ts";

export async function insertTenant(tx: Tx, name: string): Promise<string> {
  const { id } = await tx.tenant.create({ data: { id: newId(), name } });
  return id;
}

export async function insertMember(
  tx: Tx,
  member: { tenantId: string; role: Role; name: string; isPlatformAdmin: boolean },
): Promise<string> {
  const { tenantId, role, name, isPlatformAdmin } = member;
  const { id } = await tx.user.create({
    data: { id: newId(), name, isPlatformAdmin, memberships: { create: { tenantId, role } } },
  });
  return id;
}

/** The oldest tenant and its members; undefined before the first start. */
export async function findFirstTenant(
  tx: Tx,
): Promise<{ id: string; members: readonly { userId: string; role: Role }[] } | undefined> {
  const tenant = await tx.tenant.findFirst({ orderBy: { id: "asc" }, include: { memberships: true } });
  return tenant === null ? undefined : { id: tenant.id, members: tenant.memberships };
}

/** People who are members of the tenant still. */
export async function readUsers(
  tx: Tx,
  ids: readonly string[],
): Promise<ReadonlyMap<string, { readonly id: string; readonly name: string; readonly email: string | null }>> {
  const select = { id: true, name: true, email: true };
  const users = await tx.user.findMany({ where: { id: { in: [...ids] } }, select });
  return new Map(users.map((user) => [user.id, user]));
}

/** Locked until the transaction ends. */
export async function findPersonByEmail(
  tx: Tx,
  email: string,
): Promise<{ readonly id: string; readonly isPlatformAdmin: boolean } | undefined> {
  const [person] = await tx.$queryRaw<{ id: string; isPlatformAdmin: boolean }[]>`
    select id, is_platform_admin as "isPlatformAdmin" from user_account where email = ${email} for no key update`;
  return person;
}

export async function setPlatformAdminOf(tx: Tx, id: string, isPlatformAdmin: boolean): Promise<void> {
  await tx.user.update({ where: { id }, data: { isPlatformAdmin } });
}

/** Keys of a person that may do anything, may from now on do anything but administer the platform; those made for that end. */
export async function keepKeysFromPlatform(tx: Tx, userId: string): Promise<void> {
  await tx.$executeRaw`
    update api_key set version = version + 1,
      scopes = case when scopes = '{}' then array_remove(enum_range(null::scope), 'PLATFORM_ADMIN') else scopes end,
      revoked_at = case when scopes = '{}' then revoked_at else now() end
    where user_id = ${userId}::uuid and (scopes = '{}' or 'PLATFORM_ADMIN' = any (scopes))
      and (revoked_at is null or revoked_at > now())`;
}

export async function getMembership(tx: Tx, key: { tenantId: string; userId: string }) {
  return tx.membership.findUniqueOrThrow({ where: { tenantId_userId: key }, include: { tenant: true, user: true } });
}

export async function listTenants(tx: Tx, { after, before, from, limit }: PageRequest): Promise<readonly TenantRow[]> {
  const rows = await tx.tenant.findMany({
    where: { id: { ...(after === undefined ? {} : { lt: after }), ...(before === undefined ? {} : { gt: before }) } },
    orderBy: { id: from === "newest" ? "desc" : "asc" },
    take: limit,
  });
  return from === "newest" ? rows : rows.reverse();
}

export async function getTenant(tx: Tx, id: string): Promise<TenantRow> {
  return tx.tenant.findUniqueOrThrow({ where: { id } });
}

export async function readTenants(tx: Tx, ids: readonly string[]): Promise<ReadonlyMap<string, TenantRow>> {
  const rows = await tx.tenant.findMany({ where: { id: { in: [...ids] }, erasedAt: null } });
  return new Map(rows.map((row) => [row.id, row]));
}

/** Of a tenant that was erased. */
export async function findTombstone(tx: Tx, id: string): Promise<TenantRow | undefined> {
  return (await tx.tenant.findUnique({ where: { id, erasedAt: { not: null } } })) ?? undefined;
}

/** Until the transaction ends no other administrator changes the tenant. An erased one is as absent as none. */
export async function lockTenant(tx: Tx, id: string): Promise<TenantRow | undefined> {
  await tx.$queryRaw`select 1 from tenant where id = ${id}::uuid for no key update`;
  return (await tx.tenant.findUnique({ where: { id, erasedAt: null } })) ?? undefined;
}

export async function setSuspended(tx: Tx, id: string, isSuspended: boolean): Promise<TenantRow> {
  await tx.$executeRaw`
    update tenant set suspended_at = case when ${isSuspended} then now() end, version = version + 1 where id = ${id}::uuid`;
  return getTenant(tx, id);
}

export async function setShareWeight(tx: Tx, id: string, weight: number): Promise<TenantRow> {
  return tx.tenant.update({ where: { id }, data: { shareWeight: weight, version: { increment: 1 } } });
}

/** Takes what a tenant has queued out of the way of claims, or back; all of it without a limit. @returns how many */
export async function setParked(
  tx: Tx,
  tenantId: string,
  { isParked, limit }: { isParked: boolean; limit: number | null },
): Promise<number> {
  return tx.$executeRaw`
    update generation set parked = ${isParked}, queued_xid = pg_current_xact_id() where id in (
      select id from generation where tenant_id = ${tenantId}::uuid and finished_at is null and state = 'QUEUED' and parked <> ${isParked}
      limit ${limit}::int for update
    )`;
}
