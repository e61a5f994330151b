import { Field, Float, GraphQLISODateTime, ID, Int, ObjectType, registerEnumType } from "type-graphql";
import { GenerationState, Priority, TaskKind } from "../generated/prisma/enums.ts";
import { Node } from "../platform/node.type.ts";
import { Credits, UInt64 } from "../platform/scalars.ts";
import { Speed } from "../platform/speed.type.ts";
import { Attempt } from "./attempt.type.ts";
import type { ImageRow } from "./image.type.ts";
import type { WantedWork } from "./outlook.ts";

registerEnumType(GenerationState, {
  name: "GenerationState",
  description: "QUEUED and RUNNING go on; all others are final.",
});
registerEnumType(Priority, { name: "Priority", description: "Which of a tenant's own generations goes first." });
registerEnumType(TaskKind, { name: "TaskKind" });

export const GuidanceSchedule = { CONSTANT: "CONSTANT", LINEAR: "LINEAR" } as const;
export type GuidanceSchedule = keyof typeof GuidanceSchedule;
registerEnumType(GuidanceSchedule, {
  name: "GuidanceSchedule",
  description: "CONSTANT, or LINEAR: from 1 to the scale with the share of the picture that is known.",
});

@ObjectType()
abstract class Drawing {
  @Field(() => String, { description: "What guidance leads away from." })
  unconditionalPrompt!: string;

  @Field(() => Int, { description: "Pixels." })
  width!: number;

  @Field(() => Int, { description: "Pixels." })
  height!: number;

  @Field(() => Int, { description: "Pictures." })
  count!: number;

  @Field(() => Int, { description: "MAR steps." })
  steps!: number;

  @Field(() => Float, { description: "How strongly the picture follows the prompt; 1 turns guidance off." })
  guidanceScale!: number;

  @Field(() => GuidanceSchedule)
  guidanceSchedule!: GuidanceSchedule;

  @Field(() => Float, { description: "Of the noise of the reverse diffusion." })
  temperature!: number;

  @Field(() => Speed)
  speed!: Speed;

  @Field(() => UInt64, { description: "Picture i uses the noise stream (seed, i)." })
  seed!: string;
}

@ObjectType({ description: "Settings of a text-to-image generation, with every default resolved." })
export class TextToImage extends Drawing {
  @Field(() => String)
  prompt!: string;
}

@ObjectType({ description: "Settings of an image edit, with every default resolved." })
export class ImageEdit extends Drawing {
  @Field(() => String)
  instruction!: string;

  @Field(() => ID, { nullable: true, description: "The picture that is edited, when it is one of a generation." })
  imageId!: string | null;

  @Field(() => ID, { nullable: true, description: "The picture that is edited, when it was uploaded." })
  uploadId!: string | null;

  @Field(() => ID, { nullable: true, description: "White where the picture is drawn anew." })
  maskImageId!: string | null;

  @Field(() => ID, { nullable: true, description: "White where the picture is drawn anew." })
  maskUploadId!: string | null;
}

@ObjectType({ description: "Settings of variations of a picture, with every default resolved." })
export class ImageVariation extends Drawing {
  @Field(() => String, { nullable: true, description: "What the result shows; null for what fits." })
  prompt!: string | null;

  @Field(() => ID, { nullable: true, description: "The picture that is varied, when it is one of a generation." })
  imageId!: string | null;

  @Field(() => ID, { nullable: true, description: "The picture that is varied, when it was uploaded." })
  uploadId!: string | null;

  @Field(() => Float, { description: "Share of the picture that is drawn anew." })
  strength!: number;
}

@ObjectType({ description: "Settings of a question about a picture, with every default resolved." })
export class ImageToText {
  @Field(() => String)
  question!: string;

  @Field(() => ID, { nullable: true, description: "The picture, when it is one of a generation." })
  imageId!: string | null;

  @Field(() => ID, { nullable: true, description: "The picture, when it was uploaded." })
  uploadId!: string | null;

  @Field(() => Int, { description: "Side at which the picture is looked at, in pixels." })
  size!: number;

  @Field(() => Int, { description: "An answer that is not finished then is cut off." })
  maxTokens!: number;

  @Field(() => Float, { description: "Of drawing the words; 0 takes the likeliest." })
  temperature!: number;

  @Field(() => Float, { description: "Drawn from are the fewest likeliest words that have this probability together." })
  topP!: number;

  @Field(() => UInt64)
  seed!: string;
}

@ObjectType({ description: "Why a generation did not succeed." })
export class Failure {
  @Field(() => String)
  code!: string;

  @Field(() => String)
  message!: string;
}

@ObjectType({ description: "What, besides the settings, decides the exact pixels." })
export class Recipe {
  @Field(() => String, { description: "SHA-256 of the built model." })
  buildDigest!: string;

  @Field(() => String)
  provider!: string;

  @Field(() => String)
  runtimeVersion!: string;

  @Field(() => Int)
  threads!: number;

  @Field(() => Int)
  groupSize!: number;
}

@ObjectType({ implements: Node, description: "What a user asked for." })
export class Generation extends Node {
  @Field(() => GenerationState)
  state!: GenerationState;

  @Field(() => TaskKind)
  task!: TaskKind;

  @Field(() => String)
  preset!: string;

  @Field(() => Priority)
  priority!: Priority;

  @Field(() => TextToImage, { nullable: true, description: "Set when the task is TEXT_TO_IMAGE." })
  textToImage!: TextToImage | null;

  @Field(() => ImageEdit, { nullable: true, description: "Set when the task is IMAGE_EDIT." })
  imageEdit!: ImageEdit | null;

  @Field(() => ImageVariation, { nullable: true, description: "Set when the task is IMAGE_VARIATION." })
  imageVariation!: ImageVariation | null;

  @Field(() => ImageToText, { nullable: true, description: "Set when the task is IMAGE_TO_TEXT." })
  imageToText!: ImageToText | null;

  @Field(() => String, {
    nullable: true,
    description: "What was answered; null until an IMAGE_TO_TEXT has succeeded, and when it is kept no longer.",
  })
  answer!: string | null;

  @Field(() => GraphQLISODateTime)
  createdAt!: Date;

  @Field(() => GraphQLISODateTime, { nullable: true, description: "Start of the first attempt." })
  startedAt!: Date | null;

  @Field(() => GraphQLISODateTime, { nullable: true })
  finishedAt!: Date | null;

  @Field(() => GraphQLISODateTime, { nullable: true })
  deadlineAt!: Date | null;

  @Field(() => GraphQLISODateTime, {
    nullable: true,
    description: "Set while a running generation is being cancelled.",
  })
  cancelRequestedAt!: Date | null;

  @Field(() => GraphQLISODateTime, {
    nullable: true,
    description: "Since when its prompt, question and other texts are empty, because the tenant keeps them no longer.",
  })
  textsDeletedAt!: Date | null;

  @Field(() => Int, { description: "seq of its newest milestone." })
  seq!: number;

  @Field(() => [Attempt], { description: "None of a generation that ended long ago (HISTORY_DAYS of the server)." })
  attempts!: readonly Attempt[];

  @Field(() => Failure, { nullable: true })
  failure!: Failure | null;

  @Field(() => Recipe, { nullable: true })
  recipe!: Recipe | null;

  @Field(() => Credits, { description: "Held when it was queued: the most it can cost." })
  creditsReserved!: string;

  @Field(() => Credits, { nullable: true, description: "Charged; null before its end." })
  creditsCharged!: string | null;

  /** Not public: the rows of its pictures, for the `images` field. */
  imageRows!: readonly ImageRow[];

  /** Not public: who made it. */
  userUuid!: string;

  /** Not public: what it replays. */
  parentUuid!: string | null;
}

@ObjectType({ description: "What a generation would cost." })
export class Estimate {
  @Field(() => Credits, { description: "What is reserved: never exceeded by what is charged." })
  credits!: string;

  /** Not public: what it is about. */
  work!: WantedWork;
}
