import { Arg, Args, Ctx, Mutation, Query, Resolver, UseMiddleware } from "type-graphql";
import { principalOf, type RequestContext } from "../auth/request-context.ts";
import { PageArguments } from "../platform/page.type.ts";
import { reportUserErrors } from "../platform/user-error.type.ts";
import { withoutNulls } from "../platform/without-nulls.ts";
import type { PlatformService } from "./platform.service.ts";
import {
  CreateTenantInput,
  CreateTenantPayload,
  SetShareWeightInput,
  SuspendTenantInput,
  TenantConnection,
  TenantPayload,
} from "./platform.type.ts";

@Resolver()
export class PlatformResolver {
  constructor(private readonly service: PlatformService) {}

  @Query(() => TenantConnection, {
    description: "All tenants, for administrators of the platform. Give either first or last, from 1 to 100.",
  })
  tenants(@Args(() => PageArguments) page: PageArguments, @Ctx() context: RequestContext): Promise<TenantConnection> {
    return this.service.list(principalOf(context), withoutNulls(page));
  }

  @Mutation(() => CreateTenantPayload, {
    description: "For administrators of the platform. The new tenant has no credits.",
  })
  @UseMiddleware(reportUserErrors)
  createTenant(
    @Arg("input", () => CreateTenantInput) input: CreateTenantInput,
    @Ctx() context: RequestContext,
  ): Promise<Omit<CreateTenantPayload, "userErrors">> {
    return this.service.create(principalOf(context), withoutNulls(input));
  }

  @Mutation(() => TenantPayload, {
    description:
      "Its members can only read from now on, and what it has queued waits. What runs goes on to its end. For administrators of the platform.",
  })
  @UseMiddleware(reportUserErrors)
  async suspendTenant(
    @Arg("input", () => SuspendTenantInput) input: SuspendTenantInput,
    @Ctx() context: RequestContext,
  ): Promise<Omit<TenantPayload, "userErrors">> {
    return { tenant: await this.service.suspend(principalOf(context), withoutNulls(input)) };
  }

  @Mutation(() => TenantPayload, {
    description: "Gives a tenant a larger or smaller part of the workers' time. For administrators of the platform.",
  })
  @UseMiddleware(reportUserErrors)
  async setShareWeight(
    @Arg("input", () => SetShareWeightInput) input: SetShareWeightInput,
    @Ctx() context: RequestContext,
  ): Promise<Omit<TenantPayload, "userErrors">> {
    return { tenant: await this.service.setShareWeight(principalOf(context), withoutNulls(input)) };
  }

  @Mutation(() => TenantPayload, {
    description: "Ends a suspension: what is queued goes on. For administrators of the platform.",
  })
  @UseMiddleware(reportUserErrors)
  async resumeTenant(
    @Arg("input", () => SuspendTenantInput) input: SuspendTenantInput,
    @Ctx() context: RequestContext,
  ): Promise<Omit<TenantPayload, "userErrors">> {
    return { tenant: await this.service.resume(principalOf(context), withoutNulls(input)) };
  }
}
