import { Field, InputType, Int, ObjectType } from "type-graphql";
import { UserError } from "../platform/user-error.type.ts";
import { Tenant } from "../tenancy/viewer.type.ts";

const DAYS = { nullable: true, description: "1 to 3650; null for ever." };

@InputType()
export class SetRetentionInput {
  @Field(() => Int, DAYS)
  outputsDays?: number;

  @Field(() => Int, DAYS)
  inputsDays?: number;

  @Field(() => Int, DAYS)
  promptsDays?: number;

  @Field(() => String, { description: "For the audit log." })
  reason!: string;

  @Field(() => String, { nullable: true, description: "The etag of the tenant as it was seen." })
  ifMatch?: string;
}

@InputType()
export class ExportTenantInput {
  @Field(() => String, { description: "For the audit log." })
  reason!: string;

  @Field(() => Int, { defaultValue: 3600, description: "Of the link, up to a week." })
  expiresInSeconds!: number;
}

@ObjectType()
export class ExportTenantPayload {
  @Field(() => String, { nullable: true, description: "Of a tar archive, which is made while it is read." })
  url?: string;

  @Field(() => [UserError])
  userErrors!: readonly UserError[];
}

@ObjectType()
export class SetRetentionPayload {
  @Field(() => Tenant, { nullable: true })
  tenant?: Tenant;

  @Field(() => [UserError])
  userErrors!: readonly UserError[];
}
