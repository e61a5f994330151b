import { Field, ID, InputType } from "type-graphql";

@InputType()
export class EraseTenantInput {
  @Field(() => ID)
  id!: string;

  @Field(() => String, { description: "Of the tenant, to be sure that it is the right one." })
  name!: string;

  @Field(() => String, { description: "For the audit log of the platform." })
  reason!: string;

  @Field(() => String, { nullable: true, description: "The etag of the tenant as it was seen." })
  ifMatch?: string;
}
