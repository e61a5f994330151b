/** Generations that we failed at, as operators see them: without what was asked for. */
import { ArgsType, Field, GraphQLISODateTime, ID, ObjectType } from "type-graphql";
import { Priority, TaskKind } from "../generated/prisma/enums.ts";
import { PageArguments, PageInfo } from "../platform/page.type.ts";
import { Attempt } from "./attempt.type.ts";
import { Failure } from "./generation.type.ts";

@ObjectType({ description: "A generation whose attempts are used up, as far as operators of the server may see it." })
export class DeadLetter {
  @Field(() => ID, { description: "The generation's." })
  id!: string;

  @Field(() => ID)
  tenantId!: string;

  @Field(() => ID, { description: "The member who made it." })
  userId!: string;

  @Field(() => String)
  pool!: string;

  @Field(() => String)
  preset!: string;

  @Field(() => TaskKind)
  task!: TaskKind;

  @Field(() => Priority)
  priority!: Priority;

  @Field(() => GraphQLISODateTime)
  createdAt!: Date;

  @Field(() => GraphQLISODateTime, { nullable: true, description: "When we gave up." })
  finishedAt!: Date | null;

  @Field(() => Failure, { nullable: true, description: "Of the last attempt." })
  failure!: Failure | null;

  @Field(() => [Attempt])
  attempts!: readonly Attempt[];

  @Field(() => [ID], { description: "The newest generations, up to ten, that replay it." })
  replayIds!: readonly string[];
}

@ObjectType()
export class DeadLetterEdge {
  @Field(() => String)
  cursor!: string;

  @Field(() => DeadLetter)
  node!: DeadLetter;
}

@ObjectType({ description: "Newest first." })
export class DeadLetterConnection {
  @Field(() => [DeadLetterEdge])
  edges!: readonly DeadLetterEdge[];

  @Field(() => [DeadLetter])
  nodes!: readonly DeadLetter[];

  @Field(() => PageInfo)
  pageInfo!: PageInfo;
}

@ArgsType()
export class DeadLetterArguments extends PageArguments {
  @Field(() => ID, { nullable: true, description: "For administrators of the platform; one's own unless given." })
  tenantId?: string;

  @Field(() => Boolean, {
    defaultValue: false,
    description: "For administrators of the platform. Not together with tenantId.",
  })
  allTenants!: boolean;
}
