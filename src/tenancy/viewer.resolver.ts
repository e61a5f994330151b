import { Ctx, Query, Resolver } from "type-graphql";
import { principalOf, type RequestContext } from "../auth/request-context.ts";
import type { TenancyService } from "./tenancy.service.ts";
import { Viewer } from "./viewer.type.ts";

@Resolver(() => Viewer)
export class ViewerResolver {
  constructor(private readonly tenancy: TenancyService) {}

  @Query(() => Viewer, { description: "The caller." })
  viewer(@Ctx() context: RequestContext): Promise<Viewer> {
    return this.tenancy.getViewer(principalOf(context));
  }
}
