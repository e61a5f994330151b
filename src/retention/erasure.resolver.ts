import { Arg, Ctx, Mutation, Resolver, UseMiddleware } from "type-graphql";
import { principalOf, type RequestContext } from "../auth/request-context.ts";
import { reportUserErrors } from "../platform/user-error.type.ts";
import { withoutNulls } from "../platform/without-nulls.ts";
import { TenantPayload } from "../tenancy/platform.type.ts";
import type { ErasureService } from "./erasure.service.ts";
import { EraseTenantInput } from "./erasure.type.ts";

@Resolver()
export class ErasureResolver {
  constructor(private readonly service: ErasureService) {}

  @Mutation(() => TenantPayload, {
    description:
      "Deletes a tenant with all that it has, for good. Nobody enters it from now on; what runs is cancelled, and rows and pictures are gone within minutes. For administrators of the platform.",
  })
  @UseMiddleware(reportUserErrors)
  async eraseTenant(
    @Arg("input", () => EraseTenantInput) input: EraseTenantInput,
    @Ctx() context: RequestContext,
  ): Promise<Omit<TenantPayload, "userErrors">> {
    return { tenant: await this.service.erase(principalOf(context), withoutNulls(input)) };
  }
}
