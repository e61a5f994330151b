/** The audit log, for administrators: each reads the chain that they answer for. */
import { type AuditRow, appendReading, checkChain, listAudit, PLATFORM_CHAIN } from "../audit/audit.store.ts";
import { authorize, authorizePlatform } from "../auth/authorization.ts";
import { actorOf, type Principal } from "../auth/principal.ts";
import { asPlatform, asTenant } from "../platform/access.ts";
import type { Database, Tx } from "../platform/database.ts";
import { fromIndexCursor, toGlobalId, toIndexCursor, toPublicId } from "../platform/ids.ts";
import { pageSize } from "../platform/page.ts";
import type { AuditCheck, AuditEntry, AuditEntryConnection, AuditScope } from "./audit-log.type.ts";

export class AuditLogService {
  constructor(private readonly db: Database) {}

  async list(
    principal: Principal,
    { scope, first, after }: { scope: AuditScope; first: number; after: string | undefined },
  ): Promise<AuditEntryConnection> {
    const size = pageSize(first, undefined);
    const afterSeq = after === undefined ? 0 : fromIndexCursor(after, "after");
    const rows = await this.read(principal, scope, (tx, chain) => listAudit(tx, chain, { afterSeq, limit: size + 1 }));
    const edges = rows.slice(0, size).map((row) => ({ cursor: toIndexCursor(row.seq), node: toAuditEntry(row) }));
    return {
      edges,
      nodes: edges.map(({ node }) => node),
      pageInfo: {
        hasNextPage: rows.length > size,
        hasPreviousPage: afterSeq > 0,
        startCursor: edges[0]?.cursor ?? null,
        endCursor: edges.at(-1)?.cursor ?? null,
      },
    };
  }

  verify(principal: Principal, scope: AuditScope): Promise<AuditCheck> {
    return this.read(principal, scope, checkChain);
  }

  /** Reading the platform's log is a use of its administrators' rights, and noted there. */
  private read<T>(
    principal: Principal,
    scope: AuditScope,
    question: (tx: Tx, chain: string) => Promise<T>,
  ): Promise<T> {
    if (scope === "TENANT") {
      authorize(principal, "audit:read");
      return this.db.transaction(asTenant(principal.tenantId), (tx) => question(tx, principal.tenantId));
    }
    authorizePlatform(principal);
    return this.db.transaction(asPlatform, async (tx) => {
      const answer = await question(tx, PLATFORM_CHAIN);
      const target = { type: "Platform", id: PLATFORM_CHAIN };
      await appendReading(tx, PLATFORM_CHAIN, { actor: actorOf(principal), action: "audit:read", target });
      return answer;
    });
  }
}

const toAuditEntry = ({ at, actor, target, ...row }: AuditRow): AuditEntry => ({
  ...row,
  at: new Date(at),
  actorId: toGlobalId("User", actor.userId),
  apiKeyId: actor.apiKeyId === null ? null : toGlobalId("ApiKey", actor.apiKeyId),
  targetType: target.type,
  targetId: toPublicId(target.type, target.id),
});
