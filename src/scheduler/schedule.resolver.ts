import { Ctx, FieldResolver, GraphQLISODateTime, Resolver, Root } from "type-graphql";
import { type RequestContext, readsOf } from "../auth/request-context.ts";
import { QueuedEvent } from "../generation/event.type.ts";
import { Estimate, Generation } from "../generation/generation.type.ts";
import { fromGlobalId } from "../platform/ids.ts";
import { toSchedulingReason } from "./schedule.mapper.ts";
import { placeOf, reasonsOf, timesOf } from "./schedule.ts";
import { QueuePosition, SchedulingReason } from "./schedule.type.ts";
import type { Schedules } from "./schedules.ts";

const START = "When it starts, or its newest attempt did; null when it has ended, or would never start as things are.";
const FINISH = "When it is expected to end; null when it has ended, or nothing is known of that.";
const POSITION = "Null unless it is queued, and when it would never start as things are.";

@Resolver(() => Generation)
export class ScheduleResolver {
  constructor(private readonly schedules: Schedules) {}

  @FieldResolver(() => QueuePosition, { nullable: true, description: POSITION })
  async queuePosition(@Root() generation: Generation, @Ctx() context: RequestContext): Promise<QueuePosition | null> {
    const found = await this.find(generation, context);
    return (found && placeOf(found.row, found.forecast)) ?? null;
  }

  @FieldResolver(() => GraphQLISODateTime, { nullable: true, description: START })
  async estimatedStartAt(@Root() generation: Generation, @Ctx() context: RequestContext): Promise<Date | null> {
    const found = await this.find(generation, context);
    return (found && timesOf(found.row, found.forecast).startAt) ?? null;
  }

  @FieldResolver(() => GraphQLISODateTime, { nullable: true, description: FINISH })
  async estimatedFinishAt(@Root() generation: Generation, @Ctx() context: RequestContext): Promise<Date | null> {
    const found = await this.find(generation, context);
    return (found && timesOf(found.row, found.forecast).finishAt) ?? null;
  }

  @FieldResolver(() => [SchedulingReason], {
    description: "Why it does not run yet, the decisive reason first; empty when it has ended.",
  })
  async schedulingTrace(@Root() generation: Generation, @Ctx() context: RequestContext): Promise<SchedulingReason[]> {
    const found = await this.find(generation, context);
    return found === undefined ? [] : reasonsOf(found.row, found.forecast).map(toSchedulingReason);
  }

  private find({ id, state }: Generation, context: RequestContext) {
    return this.schedules.find(readsOf(context), { id: fromGlobalId("Generation", id), state });
  }
}

/** As it is when the event is delivered, which may be later than when it happened. */
@Resolver(() => QueuedEvent)
export class QueuedEventResolver {
  constructor(private readonly schedules: Schedules) {}

  @FieldResolver(() => QueuePosition, { nullable: true, description: POSITION })
  async queuePosition(@Root() event: QueuedEvent, @Ctx() context: RequestContext): Promise<QueuePosition | null> {
    const found = await this.find(event, context);
    return (found && placeOf(found.row, found.forecast)) ?? null;
  }

  @FieldResolver(() => GraphQLISODateTime, { nullable: true, description: START })
  async estimatedStartAt(@Root() event: QueuedEvent, @Ctx() context: RequestContext): Promise<Date | null> {
    const found = await this.find(event, context);
    return (found && timesOf(found.row, found.forecast).startAt) ?? null;
  }

  private find({ generationId }: QueuedEvent, context: RequestContext) {
    return this.schedules.find(readsOf(context), { id: fromGlobalId("Generation", generationId) });
  }
}

const IF_NOW = "If it were asked for now; null when it would not start soon enough to tell.";

@Resolver(() => Estimate)
export class EstimateResolver {
  constructor(private readonly schedules: Schedules) {}

  @FieldResolver(() => GraphQLISODateTime, { nullable: true, description: IF_NOW, complexity: 20 })
  async estimatedStartAt(@Root() { work }: Estimate): Promise<Date | null> {
    return (await this.schedules.expect(work)).startAt ?? null;
  }

  @FieldResolver(() => GraphQLISODateTime, { nullable: true, description: IF_NOW, complexity: 20 })
  async estimatedFinishAt(@Root() { work }: Estimate): Promise<Date | null> {
    return (await this.schedules.expect(work)).finishAt ?? null;
  }
}
