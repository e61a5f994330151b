/** The one authorization model: may this principal do this to that? Services ask it; resolvers never decide. */
import type { Role, Scope } from "../generated/prisma/enums.ts";
import { DomainError } from "../platform/errors.ts";
import type { Principal } from "./principal.ts";

interface Rule {
  /** The part of a key's rights that the action belongs to. */
  readonly scope: Scope;
  /** Roles that may do it to what is their own, and to what others of the tenant made. */
  readonly own: readonly Role[];
  readonly others: readonly Role[];
  /** Changes and spends nothing: possible for a suspended tenant too. */
  readonly reads: boolean;
}

/** From most to least: nobody gives a role above their own. */
const ROLES: readonly Role[] = ["OWNER", "ADMIN", "OPERATOR", "MEMBER", "VIEWER"];
const WORKING: readonly Role[] = ["OWNER", "ADMIN", "OPERATOR", "MEMBER"];
const OPERATING: readonly Role[] = ["OWNER", "ADMIN", "OPERATOR"];
const ADMINISTERING: readonly Role[] = ["OWNER", "ADMIN"];

/** Every action there is: the table of docs/tenancy.md. */
export const RULES = {
  "generation:read": { scope: "GENERATION_READ", own: ROLES, others: [...OPERATING, "VIEWER"], reads: true },
  /** Those that we failed at, of the whole tenant at once. */
  "deadLetter:read": { scope: "GENERATION_READ", own: OPERATING, others: OPERATING, reads: true },
  "generation:create": { scope: "GENERATION_WRITE", own: WORKING, others: OPERATING, reads: false },
  "generation:cancel": { scope: "GENERATION_WRITE", own: WORKING, others: OPERATING, reads: false },
  "generation:delete": { scope: "GENERATION_WRITE", own: WORKING, others: ADMINISTERING, reads: false },
  /** Sending a file, and starting from it. A finished picture is read as generations are. */
  "upload:use": { scope: "GENERATION_WRITE", own: WORKING, others: OPERATING, reads: false },
  "key:read": { scope: "KEY_ADMIN", own: ROLES, others: ADMINISTERING, reads: true },
  "key:manage": { scope: "KEY_ADMIN", own: ROLES, others: ADMINISTERING, reads: false },
  "member:read": { scope: "MEMBER_ADMIN", own: OPERATING, others: OPERATING, reads: true },
  "member:manage": { scope: "MEMBER_ADMIN", own: ADMINISTERING, others: ADMINISTERING, reads: false },
  "limit:read": { scope: "QUOTA_READ", own: ROLES, others: OPERATING, reads: true },
  "limit:set": { scope: "QUOTA_ADMIN", own: ADMINISTERING, others: ADMINISTERING, reads: false },
  "usage:read": { scope: "QUOTA_READ", own: ROLES, others: OPERATING, reads: true },
  /** What it was entitled to of the service, and what it got. */
  "fairness:read": { scope: "QUOTA_READ", own: OPERATING, others: OPERATING, reads: true },
  "ledger:read": { scope: "QUOTA_READ", own: OPERATING, others: OPERATING, reads: true },
  /** The lists of checks, and what they decided about whom. Verdicts on a generation are read with it. */
  "moderation:read": { scope: "TENANT_ADMIN", own: OPERATING, others: OPERATING, reads: true },
  "moderation:set": { scope: "TENANT_ADMIN", own: ADMINISTERING, others: ADMINISTERING, reads: false },
  /** How long its things are kept. */
  "tenant:manage": { scope: "TENANT_ADMIN", own: ADMINISTERING, others: ADMINISTERING, reads: false },
  /** Everything of it in one archive. */
  "tenant:export": { scope: "TENANT_ADMIN", own: ADMINISTERING, others: ADMINISTERING, reads: true },
  "audit:read": { scope: "AUDIT_READ", own: ADMINISTERING, others: ADMINISTERING, reads: true },
} as const satisfies Record<string, Rule>;
export type Action = keyof typeof RULES;

/** What is acted upon: something of a tenant, made by one of its members. */
export interface Resource {
  readonly tenantId: string;
  readonly userId: string;
}

/** Whether the principal may act on everything in its tenant, whoever made it. */
export const mayForAll = (principal: Principal, action: Action): boolean =>
  whyNot(principal, action, { tenantId: principal.tenantId, userId: "" }) === undefined;

export const may = (principal: Principal, action: Action, resource: Resource): boolean =>
  whyNot(principal, action, resource) === undefined;

/** Throws FORBIDDEN or TENANT_SUSPENDED unless the principal may do it to this: to something of its own when nothing is named. */
export function authorize(
  principal: Principal,
  action: Action,
  resource: Resource = principal,
  path: readonly string[] = [],
): void {
  const refusal = whyNot(principal, action, resource);
  if (refusal !== undefined) throw new DomainError(...refusal, { path });
}

/** Throws FORBIDDEN unless the principal administers the whole platform. Its own tenant's suspension does not matter. */
export function authorizePlatform(principal: Principal): void {
  if (!principal.isPlatformAdmin)
    throw new DomainError(
      "FORBIDDEN",
      "Only administrators of the platform may do this. Ask the operator of this server.",
    );
  if (!hasScope(principal, "PLATFORM_ADMIN")) throw new DomainError(...missingScope("PLATFORM_ADMIN"));
}

/** Whether someone with the role `own` may give, take and act for the role `other`. */
export const reaches = (own: Role, other: Role): boolean => ROLES.indexOf(own) <= ROLES.indexOf(other);

/** Every scope that a role has a use for. */
export const scopesOfRole = (role: Role): readonly Scope[] => [
  ...new Set(
    Object.values<Rule>(RULES)
      .filter(({ own, others }) => [...own, ...others].includes(role))
      .map(({ scope }) => scope),
  ),
];

/** Every scope that the principal has a use for. */
export const effectiveScopes = (principal: Principal): readonly Scope[] =>
  [...scopesOfRole(principal.role), ...(principal.isPlatformAdmin ? (["PLATFORM_ADMIN"] as const) : [])].filter(
    (scope) => hasScope(principal, scope),
  );

type Refusal = readonly ["FORBIDDEN" | "TENANT_SUSPENDED", string];

/** Of two reasons the lasting one: a role before a suspension. */
function whyNot(principal: Principal, action: Action, resource: Resource): Refusal | undefined {
  const { role, tenantId, userId, isSuspended } = principal;
  const { scope, own, others, reads }: Rule = RULES[action];
  const isAllowed = resource.tenantId === tenantId && (resource.userId === userId ? own : others).includes(role);
  if (!isAllowed)
    return ["FORBIDDEN", `The role ${role} does not allow ${action} here. Ask an administrator of your tenant.`];
  if (!hasScope(principal, scope)) return missingScope(scope);
  if (isSuspended && !reads) return ["TENANT_SUSPENDED", SUSPENDED];
  return undefined;
}

const hasScope = ({ scopes }: Principal, scope: Scope): boolean => scopes === null || scopes.includes(scope);

const missingScope = (scope: Scope): Refusal => [
  "FORBIDDEN",
  `This API key lacks the scope ${scope}. Use another key, or ask an administrator of your tenant for one that has it.`,
];

const SUSPENDED =
  "Your tenant is suspended: its members can read and download, and change nothing. Ask the operator of this server.";
