/** Whose things a list shows, and which page of them. */
import { authorize, mayForAll } from "../auth/authorization.ts";
import type { Principal } from "../auth/principal.ts";
import { DomainError } from "../platform/errors.ts";
import { type PageRequest, pageRequest } from "../platform/page.ts";
import type { PageArguments } from "../platform/page.type.ts";

export interface HistoryPage extends PageRequest {
  readonly tenantId: string;
  /** Only this member's; all of the tenant when undefined. */
  readonly userId: string | undefined;
}

export interface HistoryRequest extends PageArguments {
  readonly scope: "MINE" | "TENANT";
}

/** Throws FORBIDDEN when the principal may not read that much. */
export function historyPage(principal: Principal, page: HistoryRequest): HistoryPage {
  authorize(principal, "generation:read");
  if (page.scope === "TENANT" && !mayForAll(principal, "generation:read")) {
    throw new DomainError("FORBIDDEN", `The role ${principal.role} reads its own generations only. Use scope: MINE.`, {
      path: ["scope"],
    });
  }
  const { tenantId, userId } = principal;
  return { tenantId, userId: page.scope === "MINE" ? userId : undefined, ...pageRequest(page) };
}

/** The part of a query that asks for the page. */
export const historyQuery = ({ tenantId, userId, after, before, from, limit }: HistoryPage) => ({
  where: {
    tenantId,
    ...(userId === undefined ? {} : { userId }),
    id: { ...(after === undefined ? {} : { lt: after }), ...(before === undefined ? {} : { gt: before }) },
  },
  orderBy: { id: from === "newest" ? ("desc" as const) : ("asc" as const) },
  take: limit,
});
