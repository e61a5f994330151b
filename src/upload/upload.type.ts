import { Field, GraphQLISODateTime, ID, InputType, Int, ObjectType, registerEnumType } from "type-graphql";
import { UploadPurpose, UploadStatus } from "../generated/prisma/enums.ts";
import { Node } from "../platform/node.type.ts";
import { UserError } from "../platform/user-error.type.ts";

registerEnumType(UploadPurpose, {
  name: "UploadPurpose",
  description:
    "PICTURE: up to 20 MB and 25 million pixels, as JPEG, PNG, WebP, GIF, TIFF or AVIF. BATCH: items of a batch, up to 64 MiB.",
});
registerEnumType(UploadStatus, {
  name: "UploadStatus",
  description:
    "WAITING: a file may be sent, again if need be. READY: finished; it never changes. EXPIRED: its time ran out before it was finished or used.",
});

@InputType()
export class CreateUploadInput {
  @Field(() => UploadPurpose)
  purpose!: UploadPurpose;

  @Field(() => Int, { nullable: true, description: "Of the file: one that is too large is refused before it is sent." })
  sizeBytes?: number;
}

@ObjectType()
export class UploadHeader {
  @Field(() => String)
  name!: string;

  @Field(() => String)
  value!: string;
}

@ObjectType({
  description:
    "Where and how to send the file: one request with its bytes as the body. It may be sent again until the upload is finished; the last one counts.",
})
export class UploadTarget {
  @Field(() => ID)
  uploadId!: string;

  @Field(() => String, { description: "PUT." })
  method!: string;

  @Field(() => String, { description: "Works for anyone until it expires." })
  url!: string;

  @Field(() => [UploadHeader], { description: "To be sent as they are." })
  headers!: readonly UploadHeader[];

  @Field(() => Int, { description: "A larger file is refused." })
  maxBytes!: number;

  @Field(() => GraphQLISODateTime, { description: "The upload must be finished before." })
  expiresAt!: Date;
}

@ObjectType({
  implements: Node,
  description:
    "A file that a member brings. A picture is kept as it is shown: turned upright, on white, 8 bits a channel, without metadata, scaled down to 6 million pixels and sides of 4096.",
})
export class Upload extends Node {
  @Field(() => UploadPurpose)
  purpose!: UploadPurpose;

  @Field(() => UploadStatus)
  status!: UploadStatus;

  @Field(() => Int, { nullable: true, description: "Of the file as it was sent; null before." })
  sizeBytes!: number | null;

  @Field(() => String, { nullable: true, description: "Of the file as it was sent, in hex; null before." })
  sha256!: string | null;

  @Field(() => Int, { nullable: true, description: "Pixels of a READY picture, as it is kept." })
  width!: number | null;

  @Field(() => Int, { nullable: true, description: "Pixels of a READY picture, as it is kept." })
  height!: number | null;

  @Field(() => GraphQLISODateTime)
  createdAt!: Date;

  @Field(() => GraphQLISODateTime, {
    nullable: true,
    description: "An hour to finish it, then a day to use it. Null once a generation starts from it: it stays.",
  })
  expiresAt!: Date | null;

  /** Not public: the picture in the image store, for the field `url`. */
  pictureKey!: string | undefined;
}

@ObjectType()
export class CreateUploadPayload {
  @Field(() => UploadTarget, { nullable: true })
  target?: UploadTarget;

  @Field(() => [UserError])
  userErrors!: readonly UserError[];
}

@ObjectType()
export class FinishUploadPayload {
  @Field(() => Upload, { nullable: true })
  upload?: Upload;

  @Field(() => [UserError])
  userErrors!: readonly UserError[];
}
