import { Arg, Ctx, FieldResolver, Mutation, Resolver, Root, UseMiddleware } from "type-graphql";
import { may } from "../auth/authorization.ts";
import { principalOf, type RequestContext, readsOf } from "../auth/request-context.ts";
import { fromGlobalId } from "../platform/ids.ts";
import { reportUserErrors } from "../platform/user-error.type.ts";
import { withoutNulls } from "../platform/without-nulls.ts";
import { ReplayGenerationInput, ReplayGenerationsInput } from "./generation.input.ts";
import { toGeneration } from "./generation.mapper.ts";
import { readGenerations } from "./generation.store.ts";
import { Generation } from "./generation.type.ts";
import { CreateGenerationPayload, ReplayGenerationsPayload } from "./generation-payload.type.ts";
import type { ReplayService } from "./replay.service.ts";
import { readReplays } from "./replay.store.ts";

@Resolver(() => Generation)
export class ReplayResolver {
  constructor(private readonly service: ReplayService) {}

  @Mutation(() => CreateGenerationPayload, {
    description:
      "Queues a new generation of the same task, seed included, for one that has ended, however it has. It is the caller's, priced, limited and checked like any other.",
  })
  @UseMiddleware(reportUserErrors)
  async replayGeneration(
    @Arg("input", () => ReplayGenerationInput) input: ReplayGenerationInput,
    @Ctx() context: RequestContext,
  ): Promise<Omit<CreateGenerationPayload, "userErrors">> {
    const { generation, replayed } = await this.service.replay(principalOf(context), withoutNulls(input));
    return { generation, wasReplayed: replayed };
  }

  @Mutation(() => ReplayGenerationsPayload, {
    description:
      "Replays up to a hundred generations, one after the other, each as replayGeneration does: some may be refused and others not. Call it again with the same key to go on after an interruption.",
  })
  @UseMiddleware(reportUserErrors)
  async replayGenerations(
    @Arg("input", () => ReplayGenerationsInput) input: ReplayGenerationsInput,
    @Ctx() context: RequestContext,
  ): Promise<Omit<ReplayGenerationsPayload, "userErrors">> {
    return { results: await this.service.replayAll(principalOf(context), withoutNulls(input)) };
  }

  @FieldResolver(() => Generation, {
    nullable: true,
    description: "What it replays; null for what replays nothing, and where the caller may not read that.",
  })
  async parent(@Root() { parentUuid }: Generation, @Ctx() context: RequestContext): Promise<Generation | null> {
    if (parentUuid === null) return null;
    const row = await readsOf(context).load(readGenerations, parentUuid);
    return row !== undefined && may(principalOf(context), "generation:read", row) ? toGeneration(row) : null;
  }

  @FieldResolver(() => [Generation], {
    description: "The newest generations, up to ten, that replay it, as far as the caller may read them.",
  })
  async replays(@Root() { id }: Generation, @Ctx() context: RequestContext): Promise<readonly Generation[]> {
    const rows = (await readsOf(context).load(readReplays, fromGlobalId("Generation", id))) ?? [];
    return rows.filter((row) => may(principalOf(context), "generation:read", row)).map(toGeneration);
  }
}
