import { ArgsType, Field, GraphQLISODateTime, ID, Int, ObjectType, registerEnumType } from "type-graphql";
import { ModerationDecision, ModerationLevel, ModerationStage } from "../generated/prisma/enums.ts";
import { PageArguments, PageInfo } from "../platform/page.type.ts";
import { UserError } from "../platform/user-error.type.ts";

registerEnumType(ModerationStage, {
  name: "ModerationStage",
  description: "What was judged: what somebody wrote, or a picture before anybody saw it.",
});
registerEnumType(ModerationDecision, {
  name: "ModerationDecision",
  valuesConfig: {
    REPORTED: { description: "Objected to by a check that only reports." },
    UNAVAILABLE: { description: "The check could not be asked." },
  },
});

@ObjectType({ description: "What a check decided." })
export class ModerationVerdict {
  @Field(() => ModerationStage)
  stage!: ModerationStage;

  @Field(() => Int, { nullable: true, description: "Which picture of the generation." })
  imageIndex!: number | null;

  @Field(() => ModerationLevel)
  level!: ModerationLevel;

  @Field(() => String, { description: "The check's name." })
  check!: string;

  @Field(() => ModerationDecision)
  decision!: ModerationDecision;

  @Field(() => String, { nullable: true })
  category!: string | null;

  @Field(() => GraphQLISODateTime)
  at!: Date;

  @Field(() => ID, { nullable: true, description: "Null for a prompt that was refused: nothing was created." })
  generationId!: string | null;

  @Field(() => ID, { description: "The member who asked." })
  userId!: string;
}

@ObjectType()
export class ModerationVerdictEdge {
  @Field(() => String)
  cursor!: string;

  @Field(() => ModerationVerdict)
  node!: ModerationVerdict;
}

@ObjectType({ description: "Newest first." })
export class ModerationVerdictConnection {
  @Field(() => [ModerationVerdictEdge])
  edges!: readonly ModerationVerdictEdge[];

  @Field(() => [ModerationVerdict])
  nodes!: readonly ModerationVerdict[];

  @Field(() => PageInfo)
  pageInfo!: PageInfo;
}

@ArgsType()
export class VerdictArguments extends PageArguments {
  @Field(() => [ModerationDecision], { nullable: true, description: "All unless given." })
  decisions?: ModerationDecision[];
}

@ObjectType({
  implements: UserError,
  description: "A check refused what was asked for. Nothing was created, reserved or charged.",
})
export class ModerationError extends UserError {
  @Field(() => String, { description: "The check's name." })
  check!: string;

  @Field(() => String, { nullable: true })
  category!: string | null;
}
