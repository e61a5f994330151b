import { Field, GraphQLISODateTime, ObjectType, registerEnumType } from "type-graphql";
import { LimitKind, LimitLevel } from "../generated/prisma/enums.ts";
import { Amount, Credits } from "../platform/scalars.ts";
import { UserError } from "../platform/user-error.type.ts";

registerEnumType(LimitLevel, {
  name: "LimitLevel",
  description: "Whose limit it is, from the widest to the narrowest.",
});
registerEnumType(LimitKind, { name: "LimitKind", description: "What a limit counts." });

@ObjectType({
  implements: UserError,
  description:
    "A limit refused. Of several that did it is the one that makes you wait longest, and of equals the narrowest. retryAfterMs says when there is room by time alone; without it, when generations have ended or somebody changed the limit.",
})
export class QuotaError extends UserError {
  @Field(() => LimitLevel)
  level!: LimitLevel;

  @Field(() => LimitKind)
  kind!: LimitKind;

  @Field(() => Amount, { description: "The most there can be." })
  limit!: string;

  @Field(() => Amount, { description: "Charged, let through or stored." })
  used!: string;

  @Field(() => Amount, { description: "Reserved, queued or running." })
  held!: string;

  @Field(() => Amount, { description: "What the call needed." })
  needed!: string;

  @Field(() => Amount, { description: "What was left: limit - used - held." })
  available!: string;

  @Field(() => GraphQLISODateTime, {
    nullable: true,
    description: "When time alone will have made room for the call; null when it does not.",
  })
  resetsAt?: Date;
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

  @Field(() => String, { description: "Changes with what was granted." })
  etag!: string;
}
