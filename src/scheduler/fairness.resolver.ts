import { Args, Ctx, Query, Resolver } from "type-graphql";
import { principalOf, type RequestContext } from "../auth/request-context.ts";
import { withoutNulls } from "../platform/without-nulls.ts";
import type { FairnessService } from "./fairness.service.ts";
import { FairnessArguments, FairnessReport } from "./fairness.type.ts";

@Resolver()
export class FairnessResolver {
  constructor(private readonly service: FairnessService) {}

  @Query(() => FairnessReport, {
    description: "For operators of the tenant; of any tenant for administrators of the platform.",
  })
  fairness(
    @Args(() => FairnessArguments) asked: FairnessArguments,
    @Ctx() context: RequestContext,
  ): Promise<FairnessReport> {
    return this.service.report(principalOf(context), withoutNulls(asked));
  }
}
