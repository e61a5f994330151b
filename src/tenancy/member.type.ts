import { Field, ID, InputType, ObjectType } from "type-graphql";
import { Role } from "../generated/prisma/enums.ts";
import { PageInfo } from "../platform/page.type.ts";
import { UserError } from "../platform/user-error.type.ts";
import { User } from "./viewer.type.ts";

@ObjectType({ description: "A person, or a program that is treated like one, in a tenant." })
export class Member {
  @Field(() => User)
  user!: User;

  @Field(() => Role)
  role!: Role;

  @Field(() => String, { description: "For ifMatch." })
  etag!: string;
}

@ObjectType()
export class MemberEdge {
  @Field(() => String)
  cursor!: string;

  @Field(() => Member)
  node!: Member;
}

@ObjectType()
export class MemberConnection {
  @Field(() => [MemberEdge])
  edges!: readonly MemberEdge[];

  @Field(() => [Member])
  nodes!: readonly Member[];

  @Field(() => PageInfo)
  pageInfo!: PageInfo;
}

@ObjectType()
export class MemberPayload {
  @Field(() => Member, { nullable: true, description: "As it is now; as it was, when it was removed." })
  member?: Member;

  @Field(() => [UserError])
  userErrors!: readonly UserError[];
}

@InputType()
export class AddMemberInput {
  @Field(() => String, { description: "1 to 100 characters. Somebody who is known by the address keeps their own." })
  name!: string;

  @Field(() => String, {
    nullable: true,
    description: "Who signs in with it becomes this member. Without one, the member acts by keys only.",
  })
  email?: string;

  @Field(() => Role, { description: "At most one's own." })
  role!: Role;

  @Field(() => String, { nullable: true, description: "For the audit log." })
  reason?: string;
}

@InputType()
export class SetMemberRoleInput {
  @Field(() => ID)
  userId!: string;

  @Field(() => Role, { description: "At most one's own." })
  role!: Role;

  @Field(() => String, { nullable: true, description: "For the audit log." })
  reason?: string;

  @Field(() => String, { nullable: true, description: "The etag of the member as it was seen." })
  ifMatch?: string;
}

@InputType()
export class RemoveMemberInput {
  @Field(() => ID)
  userId!: string;

  @Field(() => String, { nullable: true, description: "For the audit log." })
  reason?: string;

  @Field(() => String, { nullable: true, description: "The etag of the member as it was seen." })
  ifMatch?: string;
}
