import { Arg, Ctx, ID, Mutation, Query, Resolver, UseMiddleware } from "type-graphql";
import { principalOf, type RequestContext } from "../auth/request-context.ts";
import { reportUserErrors } from "../platform/user-error.type.ts";
import { withoutNulls } from "../platform/without-nulls.ts";
import type { LimitService } from "./limit.service.ts";
import { ChangeCreditsInput, ChangeCreditsPayload, Limit, SetLimitInput, SetLimitPayload } from "./limit.type.ts";

@Resolver()
export class LimitResolver {
  constructor(private readonly service: LimitService) {}

  @Query(() => [Limit], {
    description:
      "Limits as they stand: all of the tenant for its operators; the tenant's, one's own and the key's for others. At most 1000.",
  })
  limits(
    @Ctx() context: RequestContext,
    @Arg("tenantId", () => ID, { nullable: true }) tenantId?: string,
    @Arg("platform", () => Boolean, { defaultValue: false }) platform = false,
  ): Promise<readonly Limit[]> {
    return this.service.list(principalOf(context), withoutNulls({ tenantId, platform }));
  }

  @Mutation(() => SetLimitPayload, { description: "Sets a limit, or takes it away." })
  @UseMiddleware(reportUserErrors)
  async setLimit(
    @Arg("input", () => SetLimitInput) input: SetLimitInput,
    @Ctx() context: RequestContext,
  ): Promise<Omit<SetLimitPayload, "userErrors">> {
    return { limit: await this.service.set(principalOf(context), withoutNulls(input)) };
  }

  @Mutation(() => ChangeCreditsPayload, {
    description: "Gives credits to a tenant. For administrators of the platform.",
  })
  @UseMiddleware(reportUserErrors)
  async grantCredits(
    @Arg("input", () => ChangeCreditsInput) input: ChangeCreditsInput,
    @Ctx() context: RequestContext,
  ): Promise<Omit<ChangeCreditsPayload, "userErrors">> {
    return { credits: await this.service.grant(principalOf(context), withoutNulls(input)) };
  }

  @Mutation(() => ChangeCreditsPayload, {
    description: "Corrects what a tenant was granted, up or down. For administrators of the platform.",
  })
  @UseMiddleware(reportUserErrors)
  async adjustCredits(
    @Arg("input", () => ChangeCreditsInput) input: ChangeCreditsInput,
    @Ctx() context: RequestContext,
  ): Promise<Omit<ChangeCreditsPayload, "userErrors">> {
    return { credits: await this.service.adjust(principalOf(context), withoutNulls(input)) };
  }
}
