import { Field, Float, ID, InputType, ObjectType } from "type-graphql";
import { PageInfo } from "../platform/page.type.ts";
import { UserError } from "../platform/user-error.type.ts";
import { Tenant, User } from "./viewer.type.ts";

@ObjectType()
export class TenantEdge {
  @Field(() => String)
  cursor!: string;

  @Field(() => Tenant)
  node!: Tenant;
}

@ObjectType({ description: "Newest first." })
export class TenantConnection {
  @Field(() => [TenantEdge])
  edges!: readonly TenantEdge[];

  @Field(() => [Tenant])
  nodes!: readonly Tenant[];

  @Field(() => PageInfo)
  pageInfo!: PageInfo;
}

@ObjectType()
export class CreateTenantPayload {
  @Field(() => Tenant, { nullable: true })
  tenant?: Tenant;

  @Field(() => User, { nullable: true })
  owner?: User;

  @Field(() => String, { nullable: true, description: "The owner's first key, if one was asked for. Shown this once." })
  secret?: string | null;

  @Field(() => [UserError])
  userErrors!: readonly UserError[];
}

@ObjectType()
export class TenantPayload {
  @Field(() => Tenant, { nullable: true })
  tenant?: Tenant;

  @Field(() => [UserError])
  userErrors!: readonly UserError[];
}

@InputType()
export class TenantOwnerInput {
  @Field(() => String, { description: "1 to 100 characters. Somebody who is known by the address keeps their own." })
  name!: string;

  @Field(() => String, { nullable: true, description: "Who signs in with it becomes the owner." })
  email?: string;
}

@InputType()
export class CreateTenantInput {
  @Field(() => String, { description: "1 to 100 characters." })
  name!: string;

  @Field(() => TenantOwnerInput)
  owner!: TenantOwnerInput;

  @Field(() => Boolean, {
    defaultValue: false,
    description: "Also makes a key for the owner. Needed when they have no address.",
  })
  withApiKey!: boolean;

  @Field(() => String, { nullable: true, description: "For the audit log." })
  reason?: string;
}

@InputType()
export class SetShareWeightInput {
  @Field(() => ID)
  id!: string;

  @Field(() => Float, { description: "Above 0, at most 1000; 1 of a new tenant." })
  weight!: number;

  @Field(() => String, { description: "For the audit logs of the platform and of the tenant." })
  reason!: string;

  @Field(() => String, { nullable: true, description: "The etag of the tenant as it was seen." })
  ifMatch?: string;
}

@InputType()
export class SuspendTenantInput {
  @Field(() => ID)
  id!: string;

  @Field(() => String, { description: "For the audit logs of the platform and of the tenant." })
  reason!: string;

  @Field(() => String, { nullable: true, description: "The etag of the tenant as it was seen." })
  ifMatch?: string;
}
