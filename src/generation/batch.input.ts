import { Field, ID, InputType } from "type-graphql";
import { DrawingWishInput } from "./generation.input.ts";

@InputType({
  description:
    "Settings of every item that does not say otherwise. With a seed, item i has the seed + i; without one, a random one of its own.",
})
export class BatchDefaultsInput extends DrawingWishInput {}

@InputType({ description: "One picture, or several, of a batch." })
export class BatchItemInput extends DrawingWishInput {
  @Field(() => String, {
    nullable: true,
    description:
      "Your name for it, unique in the batch: 1 to 128 characters. Unless given, its position from 0 in eight digits.",
  })
  customId?: string;

  @Field(() => String, { description: "What to draw: 1 to 4000 characters." })
  prompt!: string;
}

@InputType({ description: "Many prompts at once." })
export class CreateBatchInput {
  @Field(() => String, {
    description:
      "1 to 255 characters of your choice. The same key with the same input never creates twice; kept 48 hours.",
  })
  idempotencyKey!: string;

  @Field(() => String, { nullable: true, description: "May be left out while only one preset is offered." })
  preset?: string;

  @Field(() => BatchDefaultsInput, { nullable: true })
  defaults?: BatchDefaultsInput;

  @Field(() => [BatchItemInput], {
    nullable: true,
    description: "1 to 1000 items. Give either these or sourceUploadId.",
  })
  items?: BatchItemInput[];

  @Field(() => ID, {
    nullable: true,
    description:
      "1 to 50000 items in an upload of the purpose BATCH: a JSON list of what `items` takes, or JSONL with one of them a line. The upload makes one batch, and is gone then.",
  })
  sourceUploadId?: string;
}
