import { Arg, Ctx, FieldResolver, ID, Int, Mutation, Query, Resolver, Root, UseMiddleware } from "type-graphql";
import { principalOf, type RequestContext } from "../auth/request-context.ts";
import { reportUserErrors } from "../platform/user-error.type.ts";
import { withoutNulls } from "../platform/without-nulls.ts";
import { checkExpiry } from "../storage/link-expiry.ts";
import type { UploadService } from "./upload.service.ts";
import { CreateUploadInput, CreateUploadPayload, FinishUploadPayload, Upload } from "./upload.type.ts";

@Resolver(() => Upload)
export class UploadResolver {
  constructor(private readonly service: UploadService) {}

  @Query(() => Upload, { nullable: true, description: "NOT_FOUND when there is none that the caller may read." })
  upload(@Arg("id", () => ID) id: string, @Ctx() context: RequestContext): Promise<Upload> {
    return this.service.get(principalOf(context), id);
  }

  @Mutation(() => CreateUploadPayload, {
    description: "Where to send a file, within an hour. Send it, then call finishUpload.",
  })
  @UseMiddleware(reportUserErrors)
  async createUpload(
    @Arg("input", () => CreateUploadInput) input: CreateUploadInput,
    @Ctx() context: RequestContext,
  ): Promise<Omit<CreateUploadPayload, "userErrors">> {
    return { target: await this.service.create(principalOf(context), withoutNulls(input)) };
  }

  @Mutation(() => FinishUploadPayload, {
    description:
      "Makes an upload usable: the file that was sent must have this SHA-256, and a picture must be one. When it is refused, the file can be sent again.",
  })
  @UseMiddleware(reportUserErrors)
  async finishUpload(
    @Arg("id", () => ID) id: string,
    @Arg("sha256", () => String, { description: "Of the file, in hex." }) sha256: string,
    @Ctx() context: RequestContext,
  ): Promise<Omit<FinishUploadPayload, "userErrors">> {
    return { upload: await this.service.finish(principalOf(context), id, sha256) };
  }

  @FieldResolver(() => String, {
    nullable: true,
    description:
      "A READY picture as it is kept; null otherwise. The link works for anyone until it expires: made anew on each read, never store it.",
  })
  url(
    @Root() upload: Upload,
    @Arg("expiresInSeconds", () => Int, { defaultValue: 300 }) expiresInSeconds: number,
  ): string | null {
    checkExpiry(expiresInSeconds);
    return this.service.pictureUrl(upload, expiresInSeconds);
  }
}
