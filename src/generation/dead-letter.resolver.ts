import { Args, Ctx, Query, Resolver } from "type-graphql";
import { principalOf, type RequestContext } from "../auth/request-context.ts";
import { withoutNulls } from "../platform/without-nulls.ts";
import type { DeadLetterService } from "./dead-letter.service.ts";
import { DeadLetterArguments, DeadLetterConnection } from "./dead-letter.type.ts";

@Resolver()
export class DeadLetterResolver {
  constructor(private readonly service: DeadLetterService) {}

  @Query(() => DeadLetterConnection, {
    description:
      "Generations that ended as DEAD_LETTERED, for operators of the tenant and administrators of the platform. Give either first or last, from 1 to 100.",
  })
  deadLetters(
    @Args(() => DeadLetterArguments) page: DeadLetterArguments,
    @Ctx() context: RequestContext,
  ): Promise<DeadLetterConnection> {
    return this.service.list(principalOf(context), withoutNulls(page));
  }
}
