import { Ctx, Field, FieldResolver, Int, ObjectType, Resolver } from "type-graphql";
import type { RequestContext } from "../auth/request-context.ts";
import { Viewer } from "../tenancy/viewer.type.ts";
import type { CostBuckets, RateLimitState } from "./cost-buckets.ts";

@ObjectType({
  description: "How much may be asked for: points of query cost, as `extensions.cost` tells them with every answer.",
})
class RateLimit {
  @Field(() => Int, { description: "Points that can be spent at once." })
  limit!: number;

  @Field(() => Int)
  remaining!: number;

  @Field(() => Int, { description: "Points that come back each second." })
  restorePerSecond!: number;

  @Field(() => Date, { description: "When all of them are there again." })
  resetAt!: Date;
}

@Resolver(() => Viewer)
export class RateLimitResolver {
  constructor(private readonly buckets: CostBuckets) {}

  @FieldResolver(() => RateLimit)
  rateLimit(@Ctx() { caller }: RequestContext): Promise<RateLimitState> {
    return this.buckets.state(caller);
  }
}
