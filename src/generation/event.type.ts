/** What a subscription to a generation delivers. */
import { Field, Float, GraphQLISODateTime, ID, Int, InterfaceType, ObjectType, registerEnumType } from "type-graphql";
import { GenerationState } from "../generated/prisma/enums.ts";
import type { Stage } from "../progress/frame.ts";
import { Failure, Generation } from "./generation.type.ts";

const Stages: Record<Stage, Stage> = {
  PREPARING: "PREPARING",
  DRAWING: "DRAWING",
  DECODING: "DECODING",
  WRITING: "WRITING",
};
registerEnumType(Stages, {
  name: "Stage",
  description: "What a worker is doing: reading the prompt, predicting image tokens, making pixels, answering.",
});

@InterfaceType({
  description:
    "Milestones are numbered by `seq` without gaps; frames (progress, previews, text) carry that of the newest milestone before them. Of a generation that ended long ago (HISTORY_DAYS of the server) only Finished is told.",
  resolveType: (value: { __typename: string }) => value.__typename,
})
export abstract class GenerationEvent {
  __typename!: string;

  @Field(() => Int, { description: "The `afterSeq` that resumes behind this event." })
  seq!: number;

  @Field(() => GraphQLISODateTime)
  at!: Date;

  @Field(() => ID)
  generationId!: string;

  @Field(() => Int, { description: "0 before the first attempt." })
  attempt!: number;
}

@ObjectType({ implements: GenerationEvent, description: "Milestone: waits for a worker, for the first time or again." })
export class QueuedEvent extends GenerationEvent {
  @Field(() => String, { nullable: true, description: "Why it waits again." })
  message!: string | null;
}

@ObjectType({ implements: GenerationEvent, description: "Milestone: an attempt begins." })
export class StartedEvent extends GenerationEvent {}

@ObjectType({ implements: GenerationEvent, description: "Milestone: an attempt failed." })
export class AttemptFailedEvent extends GenerationEvent {
  @Field(() => Failure, { nullable: true })
  failure!: Failure | null;

  @Field(() => Boolean, { description: "Whether another attempt follows; otherwise Finished does." })
  willRetry!: boolean;
}

@ObjectType({ implements: GenerationEvent, description: "Milestone, the last one: exactly one per generation." })
export class FinishedEvent extends GenerationEvent {
  @Field(() => GenerationState)
  state!: GenerationState;

  @Field(() => Failure, { nullable: true })
  failure!: Failure | null;

  @Field(() => Generation)
  generation!: Generation;
}

@ObjectType({ implements: GenerationEvent, description: "Frame: how far the attempt is." })
export class ProgressEvent extends GenerationEvent {
  @Field(() => Int, { description: "Counts the frames of the attempt." })
  frame!: number;

  @Field(() => Stages)
  stage!: Stage;

  @Field(() => Int, { description: "MAR steps, or tokens of an answer, that are done." })
  step!: number;

  @Field(() => Int)
  totalSteps!: number;

  @Field(() => Float, { description: "step / totalSteps." })
  fraction!: number;

  @Field(() => Int, { nullable: true, description: "Milliseconds until the end, by the pace so far." })
  etaMs!: number | null;
}

@ObjectType({
  implements: GenerationEvent,
  description: "Frame: an unfinished picture. Unknown patches are transparent.",
})
export class PreviewEvent extends GenerationEvent {
  @Field(() => Int, { description: "Counts the frames of the attempt." })
  frame!: number;

  @Field(() => Int, { description: "Which picture of the generation." })
  index!: number;

  @Field(() => Int, { description: "Pixels, at most 256." })
  width!: number;

  @Field(() => Int, { description: "Pixels, at most 256." })
  height!: number;

  @Field(() => String)
  mimeType!: string;

  @Field(() => String, { description: "The picture in base64; at most 24 KiB before it." })
  dataBase64!: string;
}

@ObjectType({
  implements: GenerationEvent,
  description:
    "Frame: words of an answer. The first one of a subscription, or of an attempt, has offset 0 and all of it so far.",
})
export class TextDeltaEvent extends GenerationEvent {
  @Field(() => Int, { description: "Counts the frames of the attempt." })
  frame!: number;

  @Field(() => Int, { description: "UTF-16 code units of the answer before this text." })
  offset!: number;

  @Field(() => String)
  text!: string;
}
