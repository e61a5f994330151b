import { Field, Float, Int, ObjectType } from "type-graphql";

@ObjectType({ description: "Pixels." })
export class Size {
  @Field(() => Int)
  width!: number;

  @Field(() => Int)
  height!: number;
}

@ObjectType({ description: "What a preset accepts for text-to-image, and what it does unless told otherwise." })
export class TextToImageOffer {
  @Field(() => [Size])
  sizes!: readonly Size[];

  @Field(() => Size)
  defaultSize!: Size;

  @Field(() => Int, { description: "MAR steps, from 1." })
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
}

@ObjectType({ description: "A model offered under a name." })
export class Preset {
  @Field(() => String)
  name!: string;

  @Field(() => String, { description: "SHA-256 of the built model: equal digests compute equal numbers." })
  buildDigest!: string;

  @Field(() => TextToImageOffer, { nullable: true, description: "Null when the preset does not draw." })
  textToImage?: TextToImageOffer | undefined;
}
