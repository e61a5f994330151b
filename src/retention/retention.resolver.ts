import { Arg, Ctx, Mutation, Resolver, UseMiddleware } from "type-graphql";
import { principalOf, type RequestContext } from "../auth/request-context.ts";
import { reportUserErrors } from "../platform/user-error.type.ts";
import { withoutNulls } from "../platform/without-nulls.ts";
import type { RetentionService } from "./retention.service.ts";
import { SetRetentionInput, SetRetentionPayload } from "./retention.type.ts";

@Resolver()
export class RetentionResolver {
  constructor(private readonly service: RetentionService) {}

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
}
