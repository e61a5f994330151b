import { Field, GraphQLISODateTime, Int, ObjectType, registerEnumType } from "type-graphql";
import { AttemptOutcome } from "../generated/prisma/enums.ts";

registerEnumType(AttemptOutcome, { name: "AttemptOutcome" });

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

  @Field(() => String, { nullable: true })
  message!: string | null;

  @Field(() => Int, { description: "MAR steps of the generation that were done at its end." })
  stepsDone!: number;

  @Field(() => Int, { nullable: true, description: "MAR steps that its newest checkpoint holds." })
  checkpointSteps!: number | null;
}
