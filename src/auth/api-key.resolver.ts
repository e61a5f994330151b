import { Arg, Args, Ctx, Mutation, Query, Resolver, UseMiddleware } from "type-graphql";
import { PageArguments } from "../platform/page.type.ts";
import { reportUserErrors } from "../platform/user-error.type.ts";
import { withoutNulls } from "../platform/without-nulls.ts";
import type { ApiKeyService } from "./api-key.service.ts";
import {
  ApiKeyConnection,
  CreateApiKeyInput,
  NewApiKeyPayload,
  RevokeApiKeyInput,
  RevokeApiKeyPayload,
  RotateApiKeyInput,
} from "./api-key.type.ts";
import { principalOf, type RequestContext } from "./request-context.ts";

@Resolver()
export class ApiKeyResolver {
  constructor(private readonly service: ApiKeyService) {}

  @Query(() => ApiKeyConnection, {
    description: "Keys of the caller, newest first. Give either first or last, from 1 to 100.",
  })
  apiKeys(
    @Args(() => PageArguments) page: PageArguments,
    @Arg("ofTenant", () => Boolean, { defaultValue: false, description: "Of all members: for administrators." })
    ofTenant: boolean,
    @Ctx() context: RequestContext,
  ): Promise<ApiKeyConnection> {
    return this.service.list(principalOf(context), { ...withoutNulls(page), ofTenant });
  }

  @Mutation(() => NewApiKeyPayload, { description: "Makes a key that has at most the rights of its maker." })
  @UseMiddleware(reportUserErrors)
  createApiKey(
    @Arg("input", () => CreateApiKeyInput) input: CreateApiKeyInput,
    @Ctx() context: RequestContext,
  ): Promise<Omit<NewApiKeyPayload, "userErrors">> {
    return this.service.create(principalOf(context), withoutNulls(input));
  }

  @Mutation(() => NewApiKeyPayload, {
    description: "Makes a key with the same rights to take the place of another, which goes on working for a while.",
  })
  @UseMiddleware(reportUserErrors)
  rotateApiKey(
    @Arg("input", () => RotateApiKeyInput) input: RotateApiKeyInput,
    @Ctx() context: RequestContext,
  ): Promise<Omit<NewApiKeyPayload, "userErrors">> {
    return this.service.rotate(principalOf(context), withoutNulls(input));
  }

  @Mutation(() => RevokeApiKeyPayload, {
    description: "Stops a key now, and within seconds the sockets that it opened. Revoking twice is no error.",
  })
  @UseMiddleware(reportUserErrors)
  async revokeApiKey(
    @Arg("input", () => RevokeApiKeyInput) input: RevokeApiKeyInput,
    @Ctx() context: RequestContext,
  ): Promise<Omit<RevokeApiKeyPayload, "userErrors">> {
    return { apiKey: await this.service.revoke(principalOf(context), withoutNulls(input)) };
  }
}
