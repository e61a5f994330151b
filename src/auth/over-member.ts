/** Acting for, or on, a member of one's tenant: nobody reaches above their own role. */
import type { Tx } from "../platform/database.ts";
import { DomainError } from "../platform/errors.ts";
import { notFound, toGlobalId } from "../platform/ids.ts";
import { lockMember, type MemberRow } from "./api-key.store.ts";
import { type Action, authorize, authorizePlatform, reaches } from "./authorization.ts";
import type { Principal } from "./principal.ts";

/** The member, who stays one with this role until the transaction ends. Throws unless the principal may do this to them. */
export async function requireOverMember(
  tx: Tx,
  principal: Principal,
  { userId, action, path }: { userId: string; action: Action; path: readonly string[] },
): Promise<MemberRow> {
  const { tenantId, role } = principal;
  authorize(principal, action, { tenantId, userId }, path);
  const member = await lockMember(tx, { tenantId, userId });
  if (member === undefined) throw notFound("User", toGlobalId("User", userId), path);
  if (userId === principal.userId) return member;
  if (!reaches(role, member.role)) {
    throw new DomainError("FORBIDDEN", `The role ${role} does not reach a member with the role ${member.role}.`, {
      path,
    });
  }
  // A key of theirs administers the platform, whichever tenant it is of.
  if (action === "key:manage" && member.user.isPlatformAdmin) authorizePlatform(principal);
  return member;
}
