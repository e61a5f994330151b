import { Field, GraphQLISODateTime, Int, ObjectType } from "type-graphql";
import { Node } from "../platform/node.type.ts";
import type { NewImage } from "./generation.store.ts";

export interface ImageRow extends NewImage {
  readonly id: string;
  readonly createdAt: Date;
}

@ObjectType({ implements: Node, description: "A finished picture." })
export class Image extends Node {
  @Field(() => Int, { description: "Position among the pictures of its generation, from 0." })
  index!: number;

  @Field(() => Int, { description: "Pixels." })
  width!: number;

  @Field(() => Int, { description: "Pixels." })
  height!: number;

  @Field(() => String)
  mimeType!: string;

  @Field(() => Int)
  sizeBytes!: number;

  @Field(() => String, { description: "Of the original's bytes, in hex." })
  sha256!: string;

  @Field(() => GraphQLISODateTime)
  createdAt!: Date;

  /** Not public: its folder in the image store. */
  storageKey!: string;
}
