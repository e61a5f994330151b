import { Arg, Ctx, Mutation, Resolver, UseMiddleware } from "type-graphql";
import { principalOf, type RequestContext } from "../auth/request-context.ts";
import { reportUserErrors } from "../platform/user-error.type.ts";
import { withoutNulls } from "../platform/without-nulls.ts";
import type { RetentionService } from "./retention.service.ts";
import { ExportTenantInput, ExportTenantPayload, SetRetentionInput, SetRetentionPayload } from "./retention.type.ts";
import type { TenantExport } from "./tenant-export.ts";

@Resolver()
export class RetentionResolver {
  constructor(
    private readonly service: RetentionService,
    private readonly exports: TenantExport,
  ) {}

  @Mutation(() => SetRetentionPayload, {
    description:
      "Says how long the tenant keeps what it has: all three at once. What is older is deleted within minutes, for good.",
  })
  @UseMiddleware(reportUserErrors)
  async setRetention(
    @Arg("input", () => SetRetentionInput) input: SetRetentionInput,
    @Ctx() context: RequestContext,
  ): Promise<Omit<SetRetentionPayload, "userErrors">> {
    return { tenant: await this.service.set(principalOf(context), withoutNulls(input)) };
  }

  @Mutation(() => ExportTenantPayload, {
    description:
      "A link, which works for anyone until it expires, to all that the tenant has: members, keys, limits, generations, batches, ledger, use, audit log and pictures.",
  })
  @UseMiddleware(reportUserErrors)
  async exportTenant(
    @Arg("input", () => ExportTenantInput) input: ExportTenantInput,
    @Ctx() context: RequestContext,
  ): Promise<Omit<ExportTenantPayload, "userErrors">> {
    return { url: await this.exports.url(principalOf(context), input) };
  }
}
