import type { Role } from "../generated/prisma/enums.ts";
import type { Tx } from "../platform/database.ts";
import { newId } from "../platform/ids.ts";

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

export async function getMembership(tx: Tx, key: { tenantId: string; userId: string }) {
  return tx.membership.findUniqueOrThrow({ where: { tenantId_userId: key }, include: { tenant: true, user: true } });
}
