/** Pages of a history, after the Relay cursor connections specification. */
import { Field, ObjectType } from "type-graphql";
import { Generation } from "./generation.type.ts";

@ObjectType()
export class PageInfo {
  @Field(() => Boolean)
  hasNextPage!: boolean;

  @Field(() => Boolean)
  hasPreviousPage!: boolean;

  @Field(() => String, { nullable: true })
  startCursor!: string | null;

  @Field(() => String, { nullable: true })
  endCursor!: string | null;
}

@ObjectType()
export class GenerationEdge {
  @Field(() => String)
  cursor!: string;

  @Field(() => Generation)
  node!: Generation;
}

@ObjectType({ description: "Newest first." })
export class GenerationConnection {
  @Field(() => [GenerationEdge])
  edges!: readonly GenerationEdge[];

  @Field(() => [Generation])
  nodes!: readonly Generation[];

  @Field(() => PageInfo)
  pageInfo!: PageInfo;
}
