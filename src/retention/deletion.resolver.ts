import { Arg, Ctx, ID, Mutation, Resolver, UseMiddleware } from "type-graphql";
import { principalOf, type RequestContext } from "../auth/request-context.ts";
import { reportUserErrors } from "../platform/user-error.type.ts";
import type { DeletionService } from "./deletion.service.ts";
import { DeletePayload } from "./deletion.type.ts";

const REASON = { nullable: true, description: "For the audit log, which has what is deleted of others." };

@Resolver()
export class DeletionResolver {
  constructor(private readonly service: DeletionService) {}

  @Mutation(() => DeletePayload, {
    description:
      "Deletes a generation that has ended, with its texts and pictures. What it cost stays in the ledger. NOT_DELETABLE while it is queued or runs.",
  })
  @UseMiddleware(reportUserErrors)
  async deleteGeneration(
    @Arg("id", () => ID) id: string,
    @Arg("reason", () => String, REASON) reason: string | null,
    @Ctx() context: RequestContext,
  ): Promise<Omit<DeletePayload, "userErrors">> {
    await this.service.deleteGeneration(principalOf(context), id, reason ?? undefined);
    return { deletedId: id };
  }

  @Mutation(() => DeletePayload, {
    description: "Deletes a picture of a generation. Nothing can start from it any more, and links to it lead nowhere.",
  })
  @UseMiddleware(reportUserErrors)
  async deleteImage(
    @Arg("id", () => ID) id: string,
    @Arg("reason", () => String, REASON) reason: string | null,
    @Ctx() context: RequestContext,
  ): Promise<Omit<DeletePayload, "userErrors">> {
    await this.service.deleteImage(principalOf(context), id, reason ?? undefined);
    return { deletedId: id };
  }
}
