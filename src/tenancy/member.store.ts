/** Members of a tenant. */
import type { Membership, User } from "../generated/prisma/client.ts";
import type { Role } from "../generated/prisma/enums.ts";
import type { Tx } from "../platform/database.ts";
import { newId } from "../platform/ids.ts";
import type { PageRequest } from "../platform/page.ts";

export type MemberRow = Membership & { readonly user: User };

interface MemberKey {
  readonly tenantId: string;
  readonly userId: string;
}

/** Newest people first, whichever side the page is taken from. */
export async function listMembers(
  tx: Tx,
  tenantId: string,
  { after, before, from, limit }: PageRequest,
): Promise<readonly MemberRow[]> {
  const rows = await tx.membership.findMany({
    where: {
      tenantId,
      userId: { ...(after === undefined ? {} : { lt: after }), ...(before === undefined ? {} : { gt: before }) },
    },
    include: { user: true },
    orderBy: { userId: from === "newest" ? "desc" : "asc" },
    take: limit,
  });
  return from === "newest" ? rows : rows.reverse();
}

/** The person with this e-mail address, in lower case, wherever they are a member; a new one without. */
export async function findOrAddPerson(
  tx: Tx,
  { name, email }: { name: string; email: string | null },
): Promise<string> {
  const [person] = await tx.$queryRaw<[{ id: string }]>`
    select auth_person(${newId()}::uuid, ${name}::text, ${email}::text) as id`;
  return person.id;
}

/** Undefined when they are a member already. */
export async function insertMembership(
  tx: Tx,
  { tenantId, userId, role }: MemberKey & { role: Role },
): Promise<MemberRow | undefined> {
  const count = await tx.$executeRaw`
    insert into membership (tenant_id, user_id, role) values (${tenantId}::uuid, ${userId}::uuid, ${role}::role)
    on conflict do nothing`;
  return count === 0 ? undefined : getMember(tx, { tenantId, userId });
}

/** Who owns the tenant until the transaction ends. Locked before any other member, in one order. */
export async function lockOwners(tx: Tx, tenantId: string): Promise<readonly string[]> {
  const rows = await tx.$queryRaw<{ id: string }[]>`
    select user_id as id from membership where tenant_id = ${tenantId}::uuid and role = 'OWNER' order by user_id for update`;
  return rows.map(({ id }) => id);
}

export async function updateRole(tx: Tx, { tenantId, userId, role }: MemberKey & { role: Role }): Promise<MemberRow> {
  const data = { role, version: { increment: 1 } };
  return tx.membership.update({ where: { tenantId_userId: { tenantId, userId } }, data, include: { user: true } });
}

export async function deleteMembership(tx: Tx, { tenantId, userId }: MemberKey): Promise<void> {
  await tx.membership.delete({ where: { tenantId_userId: { tenantId, userId } } });
}

function getMember(tx: Tx, { tenantId, userId }: MemberKey): Promise<MemberRow> {
  return tx.membership.findUniqueOrThrow({ where: { tenantId_userId: { tenantId, userId } }, include: { user: true } });
}
