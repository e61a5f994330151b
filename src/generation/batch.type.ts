import { Field, GraphQLISODateTime, Int, ObjectType, registerEnumType } from "type-graphql";
import { Node } from "../platform/node.type.ts";
import { PageInfo } from "../platform/page.type.ts";
import { Credits } from "../platform/scalars.ts";
import { UserError } from "../platform/user-error.type.ts";
import { Failure, Generation, TextToImage } from "./generation.type.ts";

export const BatchStatus = {
  RUNNING: "RUNNING",
  CANCELING: "CANCELING",
  CANCELED: "CANCELED",
  FINISHED: "FINISHED",
} as const;
export type BatchStatus = keyof typeof BatchStatus;
registerEnumType(BatchStatus, {
  name: "BatchStatus",
  description: "RUNNING and CANCELING, while running items stop, go on; FINISHED and CANCELED are final.",
});

export const BatchItemStatus = {
  WAITING: "WAITING",
  QUEUED: "QUEUED",
  RUNNING: "RUNNING",
  SUCCEEDED: "SUCCEEDED",
  FAILED: "FAILED",
  CANCELED: "CANCELED",
  DELETED: "DELETED",
} as const;
export type BatchItemStatus = keyof typeof BatchItemStatus;
registerEnumType(BatchItemStatus, {
  name: "BatchItemStatus",
  description:
    "WAITING until it is its turn to be queued as a generation; then the generation's state, FAILED also when that is DEAD_LETTERED. DELETED when the generation was deleted, with the texts of the item.",
});

@ObjectType({ description: "Items of a batch by status. They add up to its total." })
export class BatchCounts {
  @Field(() => Int)
  waiting!: number;

  @Field(() => Int)
  queued!: number;

  @Field(() => Int)
  running!: number;

  @Field(() => Int)
  succeeded!: number;

  @Field(() => Int)
  failed!: number;

  @Field(() => Int)
  canceled!: number;
}

@ObjectType({ description: "Credits of a batch: reserved = charged + held + released." })
export class BatchCredits {
  @Field(() => Credits, { description: "Reserved when it was created: the most it can cost." })
  reserved!: string;

  @Field(() => Credits, { description: "Charged so far, item by item." })
  charged!: string;

  @Field(() => Credits, { description: "Still reserved, for items that have not ended." })
  held!: string;
}

@ObjectType({ implements: Node, description: "Many prompts, paid for at once and drawn little by little." })
export class Batch extends Node {
  @Field(() => BatchStatus)
  status!: BatchStatus;

  @Field(() => String)
  preset!: string;

  @Field(() => Int, { description: "Items." })
  total!: number;

  @Field(() => GraphQLISODateTime)
  createdAt!: Date;

  @Field(() => GraphQLISODateTime, { nullable: true })
  cancelRequestedAt!: Date | null;

  @Field(() => GraphQLISODateTime, { nullable: true, description: "Set when every item has ended." })
  finishedAt!: Date | null;

  /** Not public: for the fields that are looked up. */
  uuid!: string;
}

@ObjectType({ description: "One prompt of a batch." })
export class BatchItem {
  @Field(() => Int, { description: "Position in the batch, from 0." })
  index!: number;

  @Field(() => String)
  customId!: string;

  @Field(() => BatchItemStatus)
  status!: BatchItemStatus;

  @Field(() => TextToImage)
  textToImage!: TextToImage;

  @Field(() => Failure, { nullable: true, description: "Why it did not succeed." })
  error!: Failure | null;

  @Field(() => Generation, {
    nullable: true,
    description: "Null while it waits, when it was canceled then, and when it was deleted.",
  })
  generation!: Generation | null;
}

@ObjectType()
export class BatchItemEdge {
  @Field(() => String)
  cursor!: string;

  @Field(() => BatchItem)
  node!: BatchItem;
}

@ObjectType({ description: "In the order of the batch." })
export class BatchItemConnection {
  @Field(() => [BatchItemEdge])
  edges!: readonly BatchItemEdge[];

  @Field(() => [BatchItem])
  nodes!: readonly BatchItem[];

  @Field(() => PageInfo)
  pageInfo!: PageInfo;
}

@ObjectType()
export class BatchEdge {
  @Field(() => String)
  cursor!: string;

  @Field(() => Batch)
  node!: Batch;
}

@ObjectType({ description: "Newest first." })
export class BatchConnection {
  @Field(() => [BatchEdge])
  edges!: readonly BatchEdge[];

  @Field(() => [Batch])
  nodes!: readonly Batch[];

  @Field(() => PageInfo)
  pageInfo!: PageInfo;
}

@ObjectType()
export class CreateBatchPayload {
  @Field(() => Batch, { nullable: true })
  batch?: Batch;

  /** For the field `replayed`: undefined when the call was refused. */
  wasReplayed?: boolean;

  @Field(() => [UserError])
  userErrors!: readonly UserError[];
}

@ObjectType()
export class CancelBatchPayload {
  @Field(() => Batch, { nullable: true })
  batch?: Batch;

  @Field(() => [UserError])
  userErrors!: readonly UserError[];
}
