import { Field, ID, ObjectType } from "type-graphql";
import { UserError } from "../platform/user-error.type.ts";

@ObjectType()
export class DeletePayload {
  @Field(() => ID, { nullable: true, description: "What does not exist any more; null when that was refused." })
  deletedId?: string;

  @Field(() => [UserError])
  userErrors!: readonly UserError[];
}
