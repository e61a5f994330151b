/** Pages of a history, after the Relay cursor connections specification. */
import { Field, ObjectType } from "type-graphql";
import { PageInfo } from "../platform/page.type.ts";
import { Generation } from "./generation.type.ts";

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
