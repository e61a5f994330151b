/** The one authorization model: may this principal do this to that? Services ask it; resolvers never decide. */
import type { Role } from "../generated/prisma/enums.ts";
import { DomainError } from "../platform/errors.ts";
import type { Principal } from "./principal.ts";

const ACTIONS = ["generation:create", "generation:read", "generation:cancel", "upload:use"] as const;
/** upload:use: sending a file, and starting from it. A finished picture is read as generations are. */
export type Action = (typeof ACTIONS)[number];

/** What is acted upon: something of a tenant, made by one of its members. */
export interface Resource {
  readonly tenantId: string;
  readonly userId: string;
}

/** What a role may do to its own things, and to those of others in the tenant. */
const PERMISSIONS: Record<Role, { readonly own: readonly Action[]; readonly others: readonly Action[] }> = {
  OWNER: everything(),
  ADMIN: everything(),
  OPERATOR: everything(),
  MEMBER: { own: ACTIONS, others: [] },
  VIEWER: { own: ["generation:read"], others: ["generation:read"] },
};

/** Whether the principal may act on everything in its tenant, whoever made it. */
export const mayForAll = (principal: Principal, action: Action): boolean =>
  PERMISSIONS[principal.role].others.includes(action);

export function may(principal: Principal, action: Action, resource: Resource): boolean {
  if (resource.tenantId !== principal.tenantId) return false;
  const { own, others } = PERMISSIONS[principal.role];
  return (resource.userId === principal.userId ? own : others).includes(action);
}

/** Throws FORBIDDEN unless the principal may act on its own things in its tenant. */
export function authorize(principal: Principal, action: Action): void {
  if (may(principal, action, principal)) return;
  throw new DomainError(
    "FORBIDDEN",
    `The role ${principal.role} does not allow ${action}. Ask an administrator of your tenant.`,
  );
}

function everything(): { own: readonly Action[]; others: readonly Action[] } {
  return { own: ACTIONS, others: ACTIONS };
}
