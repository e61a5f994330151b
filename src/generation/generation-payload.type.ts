import { Field, GraphQLISODateTime, ID, ObjectType } from "type-graphql";
import { UserError } from "../platform/user-error.type.ts";
import { Generation } from "./generation.type.ts";

@ObjectType({
  implements: UserError,
  description: "The key may not use this preset, or must name one of those it may.",
})
export class PresetError extends UserError {
  @Field(() => [String])
  allowedPresets!: readonly string[];
}

@ObjectType({
  implements: UserError,
  description: "The generation would not finish in time, even if everything took half of what is expected.",
})
export class DeadlineError extends UserError {
  @Field(() => GraphQLISODateTime, { description: "Earlier deadlines are refused." })
  earliestFinishAt!: Date;

  @Field(() => GraphQLISODateTime)
  expectedFinishAt!: Date;
}

@ObjectType()
export class CreateGenerationPayload {
  @Field(() => Generation, { nullable: true })
  generation?: Generation;

  /** For the field `replayed`: undefined when the call was refused. */
  wasReplayed?: boolean;

  @Field(() => [UserError])
  userErrors!: readonly UserError[];
}

@ObjectType()
export class CancelGenerationPayload {
  @Field(() => Generation, { nullable: true })
  generation?: Generation;

  @Field(() => [UserError])
  userErrors!: readonly UserError[];
}

@ObjectType({ description: "What became of one of several replays." })
export class ReplayResult {
  @Field(() => ID, { description: "Of the generation that was to be replayed." })
  id!: string;

  @Field(() => Generation, { nullable: true })
  generation?: Generation;

  @Field(() => [UserError])
  userErrors!: readonly UserError[];
}

/** Of as many generations as can be named at once. */
const RESULTS_COST = 100;

@ObjectType()
export class ReplayGenerationsPayload {
  @Field(() => [ReplayResult], {
    nullable: true,
    complexity: RESULTS_COST,
    description: "In the order of the ids, each once.",
  })
  results?: readonly ReplayResult[];

  @Field(() => [UserError])
  userErrors!: readonly UserError[];
}
