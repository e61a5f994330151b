import { Arg, Args, Ctx, ID, Mutation, Query, Resolver, UseMiddleware } from "type-graphql";
import { principalOf, type RequestContext } from "../auth/request-context.ts";
import { reportUserErrors } from "../platform/user-error.type.ts";
import { withoutNulls } from "../platform/without-nulls.ts";
import type { PolicyService } from "./policy.service.ts";
import { ModerationPolicy, SetModerationPolicyInput, SetModerationPolicyPayload } from "./policy.type.ts";
import { ModerationVerdictConnection, VerdictArguments } from "./verdict.type.ts";

@Resolver()
export class PolicyResolver {
  constructor(private readonly service: PolicyService) {}

  @Query(() => [ModerationPolicy], {
    description: "The checks that concern a tenant, in the order in which they are asked: one list for each level.",
  })
  moderationPolicies(
    @Ctx() context: RequestContext,
    @Arg("tenantId", () => ID, {
      nullable: true,
      description: "Another tenant than the caller's: for administrators of the platform.",
    })
    tenantId?: string,
  ): Promise<readonly ModerationPolicy[]> {
    return this.service.list(principalOf(context), tenantId ?? undefined);
  }

  @Query(() => ModerationVerdictConnection, {
    description: "What checks decided for the tenant, newest first. Give either first or last, from 1 to 100.",
  })
  moderationVerdicts(
    @Args(() => VerdictArguments) page: VerdictArguments,
    @Ctx() context: RequestContext,
  ): Promise<ModerationVerdictConnection> {
    return this.service.listVerdicts(principalOf(context), withoutNulls(page));
  }

  @Mutation(() => SetModerationPolicyPayload, { description: "Sets a whole list of checks." })
  @UseMiddleware(reportUserErrors)
  async setModerationPolicy(
    @Arg("input", () => SetModerationPolicyInput) input: SetModerationPolicyInput,
    @Ctx() context: RequestContext,
  ): Promise<Omit<SetModerationPolicyPayload, "userErrors">> {
    return { policy: await this.service.set(principalOf(context), withoutNulls(input)) };
  }
}
