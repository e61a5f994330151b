import { Arg, Ctx, ID, Int, Resolver, Root, Subscription } from "type-graphql";
import { principalOf, type RequestContext } from "../auth/request-context.ts";
import { GenerationEvent } from "./event.type.ts";
import type { AnyGenerationEvent, GenerationEvents } from "./generation-events.ts";

interface EventArguments {
  readonly id: string;
  readonly afterSeq: number;
}

/** Subscriptions find their service in the context: TypeGraphQL calls `subscribe` without an instance of the resolver. */
export interface EventContext extends RequestContext {
  readonly generationEvents: GenerationEvents;
}

@Resolver()
export class EventsResolver {
  @Subscription(() => GenerationEvent, {
    description:
      "Milestones after `afterSeq` (0 for all), then live until FinishedEvent. After a cut, resume with the seq of the last event received, of any kind.",
    subscribe: ({ args, context }) => subscribe(args as EventArguments, context as EventContext),
  })
  generationEvents(
    @Root() event: AnyGenerationEvent,
    @Arg("id", () => ID) _id: string,
    @Arg("afterSeq", () => Int, { defaultValue: 0 }) _afterSeq: number,
    @Ctx() _context: EventContext,
  ): AnyGenerationEvent {
    return event;
  }
}

const subscribe = (args: EventArguments, context: EventContext): Promise<AsyncIterableIterator<AnyGenerationEvent>> =>
  context.generationEvents.subscribe(principalOf(context), args);
