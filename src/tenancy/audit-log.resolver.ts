import { Arg, Ctx, Int, Query, Resolver } from "type-graphql";
import { principalOf, type RequestContext } from "../auth/request-context.ts";
import type { AuditLogService } from "./audit-log.service.ts";
import { AuditCheck, AuditEntryConnection, AuditScope } from "./audit-log.type.ts";

@Resolver()
export class AuditLogResolver {
  constructor(private readonly service: AuditLogService) {}

  @Query(() => AuditEntryConnection, { description: "Who changed what, oldest first, in pages of 1 to 100." })
  auditLog(
    @Arg("first", () => Int, { defaultValue: 50 }) first: number,
    @Arg("after", () => String, { nullable: true }) after: string | null,
    @Arg("scope", () => AuditScope, { defaultValue: AuditScope.TENANT }) scope: AuditScope,
    @Ctx() context: RequestContext,
  ): Promise<AuditEntryConnection> {
    return this.service.list(principalOf(context), { scope, first, after: after ?? undefined });
  }

  @Query(() => AuditCheck, { description: "Whether the audit log is as it was written." })
  verifyAuditLog(
    @Arg("scope", () => AuditScope, { defaultValue: AuditScope.TENANT }) scope: AuditScope,
    @Ctx() context: RequestContext,
  ): Promise<AuditCheck> {
    return this.service.verify(principalOf(context), scope);
  }
}
