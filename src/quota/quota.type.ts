import { Field, ObjectType, registerEnumType } from "type-graphql";
import { LimitLevel } from "../generated/prisma/enums.ts";
import { UserError } from "../platform/user-error.type.ts";

registerEnumType(LimitLevel, { name: "LimitLevel", description: "Whose limit it is." });

@ObjectType({
  implements: UserError,
  description: "A limit refused: the one level that did, and how much is left there.",
})
export class QuotaError extends UserError {
  @Field(() => LimitLevel)
  level!: LimitLevel;

  @Field(() => String, { description: "Credits that the call needed." })
  needed!: string;

  @Field(() => String, { description: "Credits that were left." })
  available!: string;
}

@ObjectType({
  description: "Credits of a tenant, as decimal strings. balance = granted - used; available = balance - held.",
})
export class Credits {
  @Field(() => String, { description: "Granted in all." })
  granted!: string;

  @Field(() => String, { description: "Charged so far." })
  used!: string;

  @Field(() => String, { description: "Reserved for generations that have not ended." })
  held!: string;

  @Field(() => String, { description: "What a new generation may cost." })
  available!: string;
}
