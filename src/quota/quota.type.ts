import { Field, ObjectType, registerEnumType } from "type-graphql";
import { LimitLevel } from "../generated/prisma/enums.ts";
import { Credits } from "../platform/scalars.ts";
import { UserError } from "../platform/user-error.type.ts";

registerEnumType(LimitLevel, { name: "LimitLevel", description: "Whose limit it is." });

@ObjectType({
  implements: UserError,
  description: "A limit refused: the one level that did, and how much is left there.",
})
export class QuotaError extends UserError {
  @Field(() => LimitLevel)
  level!: LimitLevel;

  @Field(() => Credits, { description: "Credits that the call needed." })
  needed!: string;

  @Field(() => Credits, { description: "Credits that were left." })
  available!: string;
}

@ObjectType({ description: "Credits of a tenant: available = granted - used - held." })
export class CreditBalance {
  @Field(() => Credits, { description: "Granted in all." })
  granted!: string;

  @Field(() => Credits, { description: "Charged so far." })
  used!: string;

  @Field(() => Credits, { description: "Reserved for generations that have not ended." })
  held!: string;

  @Field(() => Credits, { description: "What a new generation may cost." })
  available!: string;
}
