/** Who belongs to a tenant, and with which role. */
import { appendAudit } from "../audit/audit.store.ts";
import { endApiKeysOf } from "../auth/api-key.store.ts";
import { authorize, reaches } from "../auth/authorization.ts";
import { requireOverMember } from "../auth/over-member.ts";
import { actorOf, type Principal } from "../auth/principal.ts";
import type { Role } from "../generated/prisma/enums.ts";
import { asTenant } from "../platform/access.ts";
import type { Database, Tx } from "../platform/database.ts";
import { DomainError } from "../platform/errors.ts";
import { checkEtag, toEtag } from "../platform/etag.ts";
import { fromGlobalId, toGlobalId } from "../platform/ids.ts";
import { pageOf, pageRequest } from "../platform/page.ts";
import type { PageArguments } from "../platform/page.type.ts";
import { readReason, requireText } from "../platform/text.ts";
import {
  deleteMembership,
  findOrAddPerson,
  insertMembership,
  listMembers,
  lockOwners,
  type MemberRow,
  updateRole,
} from "./member.store.ts";
import type { AddMemberInput, Member, MemberConnection, RemoveMemberInput, SetMemberRoleInput } from "./member.type.ts";

const MAX_NAME = 100;
const MAX_EMAIL = 254;
const EMAIL = /^[^\s@]+@[^\s@]+$/;

export class MemberService {
  constructor(private readonly db: Database) {}

  async list(principal: Principal, page: PageArguments): Promise<MemberConnection> {
    authorize(principal, "member:read");
    const { tenantId } = principal;
    const request = pageRequest(page);
    const rows = await this.db.transaction(asTenant(tenantId), (tx) => listMembers(tx, tenantId, request));
    return pageOf(
      rows.map((row) => ({ ...row, id: row.userId })),
      request,
      toMember,
    );
  }

  async add(principal: Principal, { role, ...input }: AddMemberInput): Promise<Member> {
    authorize(principal, "member:manage");
    requireReach(principal, role);
    const { tenantId } = principal;
    const person = readPerson(input);
    const reason = readReason(input.reason);
    return this.db.transaction(asTenant(tenantId), async (tx) => {
      const userId = await findOrAddPerson(tx, person);
      const row = await insertMembership(tx, { tenantId, userId, role });
      if (row === undefined) {
        throw new DomainError("INVALID_INPUT", "This person is a member already. Change the role with setMemberRole.", {
          path: ["input", "email"],
        });
      }
      await audit(tx, principal, { action: "member:add", userId, reason, before: null, after: row });
      return toMember(row);
    });
  }

  async setRole(principal: Principal, { role, ...input }: SetMemberRoleInput): Promise<Member> {
    const reason = readReason(input.reason);
    return this.db.transaction(asTenant(principal.tenantId), async (tx) => {
      const { before, isLastOwner } = await this.lock(tx, principal, input);
      requireReach(principal, role);
      if (role === before.role) return toMember(before);
      if (isLastOwner) refuseLastOwner();
      const { tenantId, userId } = before;
      const row = await updateRole(tx, { tenantId, userId, role });
      await audit(tx, principal, { action: "member:set-role", userId, reason, before, after: row });
      return toMember(row);
    });
  }

  async remove(principal: Principal, input: RemoveMemberInput): Promise<Member> {
    const reason = readReason(input.reason);
    return this.db.transaction(asTenant(principal.tenantId), async (tx) => {
      const { before, isLastOwner } = await this.lock(tx, principal, input);
      if (isLastOwner) refuseLastOwner();
      await endApiKeysOf(tx, before);
      await deleteMembership(tx, before);
      await audit(tx, principal, { action: "member:remove", userId: before.userId, reason, before, after: null });
      return toMember(before);
    });
  }

  /** The member, if the principal may change it as it is now. */
  private async lock(
    tx: Tx,
    principal: Principal,
    { userId: globalId, ifMatch }: { userId: string; ifMatch?: string },
  ): Promise<{ before: MemberRow; isLastOwner: boolean }> {
    authorize(principal, "member:manage");
    const path = ["input", "userId"];
    const userId = fromGlobalId("User", globalId, path);
    const owners = await lockOwners(tx, principal.tenantId);
    const before = await requireOverMember(tx, principal, { userId, action: "member:manage", path });
    checkEtag(ifMatch, before.version);
    return { before, isLastOwner: owners.length === 1 && owners[0] === userId };
  }
}

/** A role can only be given by someone who has it, or more. */
function requireReach({ role: own }: Principal, role: Role): void {
  if (reaches(own, role)) return;
  throw new DomainError("FORBIDDEN", `The role ${own} cannot give the role ${role}. Ask someone who has it.`, {
    path: ["input", "role"],
  });
}

function refuseLastOwner(): never {
  throw new DomainError("LAST_OWNER", "This is the last owner of the tenant. Make someone else an owner first.", {
    path: ["input", "userId"],
  });
}

export function readPerson({ name, email }: { name: string; email?: string }): { name: string; email: string | null } {
  const path = ["input", "email"];
  const address = email === undefined ? null : requireText(email, { max: MAX_EMAIL, path }).toLowerCase();
  if (address !== null && !EMAIL.test(address)) {
    throw new DomainError("INVALID_INPUT", "email is no e-mail address, such as ada@example.org.", { path });
  }
  return { name: requireText(name, { max: MAX_NAME, path: ["input", "name"] }), email: address };
}

const toMember = ({ user, role, version }: MemberRow): Member => ({
  user: { id: toGlobalId("User", user.id), name: user.name, email: user.email },
  role,
  etag: toEtag(version),
});

interface Change {
  readonly action: string;
  readonly userId: string;
  readonly reason: string | null;
  readonly before: MemberRow | null;
  readonly after: MemberRow | null;
}

function audit(tx: Tx, principal: Principal, { action, userId, reason, before, after }: Change): Promise<void> {
  const facts = (row: MemberRow | null) => row && { role: row.role, name: row.user.name, email: row.user.email };
  const target = { type: "User", id: userId };
  const content = { actor: actorOf(principal), action, target, reason, before: facts(before), after: facts(after) };
  return appendAudit(tx, principal.tenantId, content);
}
