import { Field, GraphQLISODateTime, Int, ObjectType, registerEnumType } from "type-graphql";
import { AttemptOutcome, FailureClass } from "../generated/prisma/enums.ts";

registerEnumType(AttemptOutcome, { name: "AttemptOutcome" });
registerEnumType(FailureClass, {
  name: "FailureClass",
  description: "How an attempt failed.",
  valuesConfig: {
    INVALID_INPUT: { description: "The model refuses the input, and would again." },
    CONTENT_BLOCKED: { description: "A check refuses a picture." },
    MODERATION_UNAVAILABLE: { description: "A check of its pictures could not be asked." },
    INTERNAL: { description: "The worker reported an error." },
    WORKER_LOST: { description: "The worker went in the middle." },
    WORKER_STUCK: { description: "The worker gave no sign of life." },
    NOT_TAKEN: { description: "The worker had no slot, or went before it started." },
    SERVER: { description: "The server could not keep what the worker sent." },
    ORPHANED: { description: "The server that ran it ended." },
    STALE_CHECKPOINT: { description: "The checkpoint that it went on from is of another build." },
  },
});

@ObjectType({ description: "One run of a generation on a worker." })
export class Attempt {
  @Field(() => Int)
  number!: number;

  @Field(() => GraphQLISODateTime)
  startedAt!: Date;

  @Field(() => GraphQLISODateTime, { nullable: true })
  endedAt!: Date | null;

  @Field(() => AttemptOutcome, { nullable: true, description: "Null while it runs." })
  outcome!: AttemptOutcome | null;

  @Field(() => FailureClass, { nullable: true, description: "Set when it failed, was returned or orphaned." })
  failureClass!: FailureClass | null;

  @Field(() => String, { nullable: true })
  message!: string | null;

  @Field(() => Int, { description: "MAR steps of the generation that were done at its end." })
  stepsDone!: number;

  @Field(() => Int, { nullable: true, description: "MAR steps that its newest checkpoint holds." })
  checkpointSteps!: number | null;
}
