import { Arg, Args, Ctx, Mutation, Query, Resolver, UseMiddleware } from "type-graphql";
import { principalOf, type RequestContext } from "../auth/request-context.ts";
import { PageArguments } from "../platform/page.type.ts";
import { reportUserErrors } from "../platform/user-error.type.ts";
import { withoutNulls } from "../platform/without-nulls.ts";
import type { MemberService } from "./member.service.ts";
import {
  AddMemberInput,
  MemberConnection,
  MemberPayload,
  RemoveMemberInput,
  SetMemberRoleInput,
} from "./member.type.ts";

@Resolver()
export class MemberResolver {
  constructor(private readonly service: MemberService) {}

  @Query(() => MemberConnection, { description: "Members of the tenant. Give either first or last, from 1 to 100." })
  members(@Args(() => PageArguments) page: PageArguments, @Ctx() context: RequestContext): Promise<MemberConnection> {
    return this.service.list(principalOf(context), withoutNulls(page));
  }

  @Mutation(() => MemberPayload)
  @UseMiddleware(reportUserErrors)
  async addMember(
    @Arg("input", () => AddMemberInput) input: AddMemberInput,
    @Ctx() context: RequestContext,
  ): Promise<Omit<MemberPayload, "userErrors">> {
    return { member: await this.service.add(principalOf(context), withoutNulls(input)) };
  }

  @Mutation(() => MemberPayload, { description: "Takes effect at once, and within seconds on open sockets." })
  @UseMiddleware(reportUserErrors)
  async setMemberRole(
    @Arg("input", () => SetMemberRoleInput) input: SetMemberRoleInput,
    @Ctx() context: RequestContext,
  ): Promise<Omit<MemberPayload, "userErrors">> {
    return { member: await this.service.setRole(principalOf(context), withoutNulls(input)) };
  }

  @Mutation(() => MemberPayload, { description: "Their keys stop at once. What they made stays with the tenant." })
  @UseMiddleware(reportUserErrors)
  async removeMember(
    @Arg("input", () => RemoveMemberInput) input: RemoveMemberInput,
    @Ctx() context: RequestContext,
  ): Promise<Omit<MemberPayload, "userErrors">> {
    return { member: await this.service.remove(principalOf(context), withoutNulls(input)) };
  }
}
