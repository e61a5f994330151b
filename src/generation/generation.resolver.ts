import { Arg, Args, Ctx, FieldResolver, ID, Mutation, Query, Resolver, Root, UseMiddleware } from "type-graphql";
import { principalOf, type RequestContext, readsOf } from "../auth/request-context.ts";
import { toVerdict } from "../moderation/moderation.mapper.ts";
import { readVerdicts } from "../moderation/verdict.store.ts";
import { ModerationVerdict } from "../moderation/verdict.type.ts";
import { fromGlobalId, toGlobalId } from "../platform/ids.ts";
import { reportUserErrors } from "../platform/user-error.type.ts";
import { withoutNulls } from "../platform/without-nulls.ts";
import { readUsers } from "../tenancy/tenancy.store.ts";
import { User } from "../tenancy/viewer.type.ts";
import { CreateGenerationInput, EstimateInput, HistoryArguments } from "./generation.input.ts";
import { toImage } from "./generation.mapper.ts";
import type { GenerationService } from "./generation.service.ts";
import { Estimate, Generation } from "./generation.type.ts";
import { GenerationConnection } from "./generation-connection.type.ts";
import { CancelGenerationPayload, CreateGenerationPayload } from "./generation-payload.type.ts";
import { Image } from "./image.type.ts";

@Resolver(() => Generation)
export class GenerationResolver {
  constructor(private readonly service: GenerationService) {}

  @Query(() => Generation, { nullable: true, description: "NOT_FOUND when there is none that the caller may read." })
  generation(@Arg("id", () => ID) id: string, @Ctx() context: RequestContext): Promise<Generation> {
    return this.service.get(principalOf(context), id);
  }

  @Query(() => Estimate, { description: "What a generation would cost, before it is asked for." })
  estimate(@Arg("input", () => EstimateInput) input: EstimateInput, @Ctx() context: RequestContext): Promise<Estimate> {
    return this.service.estimate(principalOf(context), withoutNulls(input));
  }

  @Query(() => GenerationConnection, {
    description: "History, newest first. Give either first or last, from 1 to 100.",
  })
  generations(
    @Args(() => HistoryArguments) page: HistoryArguments,
    @Ctx() context: RequestContext,
  ): Promise<GenerationConnection> {
    return this.service.list(principalOf(context), withoutNulls(page));
  }

  @Mutation(() => CreateGenerationPayload, {
    description: "Queues a generation and reserves its credits, or does neither.",
  })
  @UseMiddleware(reportUserErrors)
  async createGeneration(
    @Arg("input", () => CreateGenerationInput) input: CreateGenerationInput,
    @Ctx() context: RequestContext,
  ): Promise<Omit<CreateGenerationPayload, "userErrors">> {
    const { generation, replayed } = await this.service.create(principalOf(context), withoutNulls(input));
    return { generation, wasReplayed: replayed };
  }

  @Mutation(() => CancelGenerationPayload, {
    description: "Ends a queued generation now and for free; asks a running one to stop, which charges the steps done.",
  })
  @UseMiddleware(reportUserErrors)
  async cancelGeneration(
    @Arg("id", () => ID) id: string,
    @Ctx() context: RequestContext,
  ): Promise<Omit<CancelGenerationPayload, "userErrors">> {
    return { generation: await this.service.cancel(principalOf(context), id) };
  }

  @FieldResolver(() => [Image], { description: "Empty until the generation has succeeded." })
  images(@Root() generation: Generation): Image[] {
    return generation.imageRows.map(toImage);
  }

  @FieldResolver(() => [ModerationVerdict], { description: "What checks decided about it, in order." })
  async moderation(@Root() { id }: Generation, @Ctx() context: RequestContext): Promise<ModerationVerdict[]> {
    const verdicts = await readsOf(context).load(readVerdicts, fromGlobalId("Generation", id));
    return (verdicts ?? []).map(toVerdict);
  }

  @FieldResolver(() => User, { nullable: true, description: "Who made it; null for who is no member any more." })
  async createdBy(@Root() { userUuid }: Generation, @Ctx() context: RequestContext): Promise<User | null> {
    const user = await readsOf(context).load(readUsers, userUuid);
    return user === undefined ? null : { ...user, id: toGlobalId("User", user.id) };
  }
}
