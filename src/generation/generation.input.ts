import { ArgsType, Field, Float, ID, InputType, Int, registerEnumType } from "type-graphql";
import { Priority } from "../generated/prisma/enums.ts";
import { PageArguments } from "../platform/page.type.ts";
import { UInt64 } from "../platform/scalars.ts";
import { Speed } from "../platform/speed.type.ts";
import { GuidanceSchedule } from "./generation.type.ts";

export const GenerationScope = { MINE: "MINE", TENANT: "TENANT" } as const;
export type GenerationScope = keyof typeof GenerationScope;
registerEnumType(GenerationScope, {
  name: "GenerationScope",
  description: "Whose generations: one's own, or the whole tenant's.",
});

@InputType()
export abstract class DrawingWishInput {
  @Field(() => String, { nullable: true, description: "What guidance leads away from." })
  unconditionalPrompt?: string;

  @Field(() => Int, { nullable: true, description: "Pixels; one of the preset's sizes, or any multiple of its step." })
  width?: number;

  @Field(() => Int, { nullable: true, description: "Pixels; one of the preset's sizes, or any multiple of its step." })
  height?: number;

  @Field(() => Int, { nullable: true, description: "Pictures." })
  count?: number;

  @Field(() => Int, { nullable: true, description: "MAR steps." })
  steps?: number;

  @Field(() => Float, {
    nullable: true,
    description: "How strongly the picture follows the prompt; 1 turns guidance off.",
  })
  guidanceScale?: number;

  @Field(() => GuidanceSchedule, { nullable: true })
  guidanceSchedule?: GuidanceSchedule;

  @Field(() => Float, { nullable: true, description: "Of the noise of the reverse diffusion." })
  temperature?: number;

  @Field(() => Speed, { nullable: true })
  speed?: Speed;

  @Field(() => UInt64, { nullable: true, description: "Drawn at random unless given." })
  seed?: string;
}

@InputType()
abstract class DrawingInput extends DrawingWishInput {
  @Field(() => Int, { defaultValue: 1, description: "Pictures." })
  override count!: number;

  @Field(() => GuidanceSchedule, { defaultValue: GuidanceSchedule.CONSTANT })
  override guidanceSchedule!: GuidanceSchedule;

  @Field(() => Speed, { defaultValue: Speed.EXACT })
  override speed!: Speed;
}

@InputType({ description: "What is left out takes the preset's default; the `presets` query shows them." })
export class TextToImageInput extends DrawingInput {
  @Field(() => String, { description: "What to draw: 1 to 4000 characters." })
  prompt!: string;
}

@InputType({ description: "A picture of the tenant, in exactly one way." })
export class PictureInput {
  @Field(() => ID, { nullable: true, description: "A finished picture of a generation." })
  imageId?: string;

  @Field(() => ID, { nullable: true, description: "A READY upload of the purpose PICTURE." })
  uploadId?: string;
}

@InputType({
  description:
    "Draws a picture anew as an instruction says. What is left out takes the preset's default; the `presets` query shows them.",
})
export class ImageEditInput extends DrawingInput {
  @Field(() => PictureInput, { description: "Cropped around its centre to the shape of the result, and resized." })
  image!: PictureInput;

  @Field(() => String, { description: "What to change: 1 to 4000 characters." })
  instruction!: string;

  @Field(() => PictureInput, {
    nullable: true,
    description:
      "As large as the image, as it is kept: white where it is drawn anew, black where it stays. Without it, all is drawn anew.",
  })
  mask?: PictureInput;
}

@InputType({
  description:
    "Draws pictures like a given one: patches scattered over it stay, the rest is drawn around them. What is left out takes the preset's default; the `presets` query shows them.",
})
export class ImageVariationInput extends DrawingInput {
  @Field(() => PictureInput, { description: "Cropped around its centre to the shape of the result, and resized." })
  image!: PictureInput;

  @Field(() => Float, {
    defaultValue: 0.75,
    description: "Share of the picture that is drawn anew: above 0, at most 1.",
  })
  strength!: number;

  @Field(() => String, {
    nullable: true,
    description:
      "What the result shows: 1 to 4000 characters. Without it, what fits to the patches that stay; guidance has no effect then.",
  })
  prompt?: string;
}

@InputType({ description: "Answers a question about a picture." })
export class ImageToTextInput {
  @Field(() => PictureInput, { description: "Padded to a square." })
  image!: PictureInput;

  @Field(() => String, { description: "1 to 4000 characters, such as: Describe the image in detail." })
  question!: string;

  @Field(() => Int, { nullable: true, description: "Side at which the picture is looked at, in pixels." })
  size?: number;

  @Field(() => Int, {
    nullable: true,
    description: "An answer that is not finished then is cut off; 256 unless given.",
  })
  maxTokens?: number;

  @Field(() => Float, {
    defaultValue: 0,
    description: "Draws the words of the answer, the more freely the higher; 0 takes the likeliest.",
  })
  temperature!: number;

  @Field(() => Float, {
    defaultValue: 1,
    description: "Draws from the fewest likeliest words that have this probability together: above 0, at most 1.",
  })
  topP!: number;

  @Field(() => UInt64, { nullable: true, description: "Of drawn words; drawn at random unless given." })
  seed?: string;
}

@InputType({ description: "Exactly one task." })
export class TaskInput {
  @Field(() => TextToImageInput, { nullable: true })
  textToImage?: TextToImageInput;

  @Field(() => ImageEditInput, { nullable: true })
  imageEdit?: ImageEditInput;

  @Field(() => ImageVariationInput, { nullable: true })
  imageVariation?: ImageVariationInput;

  @Field(() => ImageToTextInput, { nullable: true })
  imageToText?: ImageToTextInput;
}

@InputType()
export class EstimateInput {
  @Field(() => String, { nullable: true, description: "May be left out while only one preset is offered." })
  preset?: string;

  @Field(() => TaskInput)
  task!: TaskInput;

  @Field(() => Priority, { defaultValue: Priority.STANDARD })
  priority!: Priority;
}

@InputType()
export class CreateGenerationInput {
  @Field(() => String, {
    description:
      "1 to 255 characters of your choice. The same key with the same input never creates twice; kept 48 hours.",
  })
  idempotencyKey!: string;

  @Field(() => String, { nullable: true, description: "May be left out while only one preset is offered." })
  preset?: string;

  @Field(() => TaskInput)
  task!: TaskInput;

  @Field(() => Priority, { defaultValue: Priority.STANDARD })
  priority!: Priority;

  @Field(() => Int, {
    nullable: true,
    description:
      "Milliseconds from now after which the result is useless: EXPIRED and free before the start, CANCELED after it. Refused when it cannot be met.",
  })
  deadlineMs?: number;
}

@InputType()
export class ReplayGenerationsInput {
  @Field(() => [ID], { description: "1 to 100 generations that have ended." })
  ids!: string[];

  @Field(() => String, {
    description:
      "1 to 255 characters of your choice. The same key never replays the same generation twice, whatever else is named; kept 48 hours.",
  })
  idempotencyKey!: string;

  @Field(() => Priority, { nullable: true, description: "Those of the ones that are replayed unless given." })
  priority?: Priority;
}

@InputType()
export class ReplayGenerationInput {
  @Field(() => ID, { description: "Of a generation that has ended." })
  id!: string;

  @Field(() => String, {
    description:
      "1 to 255 characters of your choice. The same key with the same input never creates twice; kept 48 hours.",
  })
  idempotencyKey!: string;

  @Field(() => Priority, { nullable: true, description: "That of the one that is replayed unless given." })
  priority?: Priority;

  @Field(() => Int, { nullable: true, description: "As of createGeneration; none unless given." })
  deadlineMs?: number;
}

@ArgsType()
export class HistoryArguments extends PageArguments {
  @Field(() => GenerationScope, { defaultValue: GenerationScope.MINE })
  scope!: GenerationScope;
}
