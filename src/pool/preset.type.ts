import { Field, Float, Int, ObjectType } from "type-graphql";
import { Speed } from "../platform/speed.type.ts";

@ObjectType({ description: "Pixels." })
export class Size {
  @Field(() => Int)
  width!: number;

  @Field(() => Int)
  height!: number;
}

@ObjectType({ description: "A named approximation of the model." })
export class SpeedOffer {
  @Field(() => Speed)
  speed!: Speed;

  @Field(() => String, { description: "What it gains and what it costs." })
  description!: string;
}

@ObjectType({ description: "What a preset accepts for a task that draws, and what it does unless told otherwise." })
export class DrawingOffer {
  @Field(() => [Size], { description: "What the model draws best." })
  sizes!: readonly Size[];

  @Field(() => Int, { description: "Sides of any other size are multiples of it, in pixels." })
  sizeStep!: number;

  @Field(() => Int, { description: "Width times height of any other size." })
  maxPixels!: number;

  @Field(() => Size)
  defaultSize!: Size;

  @Field(() => Int, { description: "MAR steps, from 1; at most one for each sizeStep x sizeStep pixels." })
  maxSteps!: number;

  @Field(() => Int)
  defaultSteps!: number;

  @Field(() => Int, { description: "Pictures of one generation, from 1." })
  maxCount!: number;

  @Field(() => Float)
  defaultGuidanceScale!: number;

  @Field(() => Float)
  defaultTemperature!: number;

  @Field(() => String)
  defaultUnconditionalPrompt!: string;

  @Field(() => [SpeedOffer])
  speeds!: readonly SpeedOffer[];
}

@ObjectType({ description: "What a preset accepts for image-to-text." })
export class ImageToTextOffer {
  @Field(() => [Int], { description: "Sides at which a picture can be looked at, in pixels." })
  sizes!: readonly number[];

  @Field(() => Int)
  defaultSize!: number;

  @Field(() => Int, { description: "Tokens of an answer, from 1." })
  maxTokens!: number;
}

@ObjectType({ description: "A model offered under a name. Tasks that it does not do are null." })
export class Preset {
  @Field(() => String)
  name!: string;

  @Field(() => String, { description: "SHA-256 of the built model: equal digests compute equal numbers." })
  buildDigest!: string;

  @Field(() => Float, { description: "What its work costs, as a multiple of the tariff's prices." })
  priceFactor!: number;

  @Field(() => DrawingOffer, { nullable: true })
  textToImage?: DrawingOffer | undefined;

  @Field(() => DrawingOffer, { nullable: true })
  imageEdit?: DrawingOffer | undefined;

  @Field(() => DrawingOffer, { nullable: true })
  imageVariation?: DrawingOffer | undefined;

  @Field(() => ImageToTextOffer, { nullable: true })
  imageToText?: ImageToTextOffer | undefined;
}
