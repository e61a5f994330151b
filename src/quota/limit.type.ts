import { Field, GraphQLISODateTime, ID, InputType, ObjectType, registerEnumType } from "type-graphql";
import { LimitKind, LimitLevel, LimitWindow } from "../generated/prisma/enums.ts";
import { Amount, Credits } from "../platform/scalars.ts";
import { UserError } from "../platform/user-error.type.ts";
import { CreditBalance } from "./quota.type.ts";

registerEnumType(LimitWindow, {
  name: "LimitWindow",
  description: "How long what was used counts. TOTAL: for ever, or as long as it lasts.",
});

@ObjectType({ description: "The most that somebody may use of something, and how much of it is gone." })
export class Limit {
  @Field(() => LimitLevel)
  level!: LimitLevel;

  @Field(() => ID, { nullable: true, description: "The tenant, member or key; null for the platform." })
  subjectId!: string | null;

  @Field(() => LimitKind)
  kind!: LimitKind;

  @Field(() => LimitWindow)
  window!: LimitWindow;

  @Field(() => Boolean, {
    description: "Counts the last hour, day or 30 days instead of this hour, day or month (UTC).",
  })
  isRolling!: boolean;

  @Field(() => Amount)
  max!: string;

  @Field(() => Amount, { description: "Charged, let through or stored in the window." })
  used!: string;

  @Field(() => Amount, { description: "Reserved, queued or running." })
  held!: string;

  @Field(() => Amount)
  available!: string;

  @Field(() => GraphQLISODateTime, {
    nullable: true,
    description: "When what is used now is free again by time alone.",
  })
  resetsAt!: Date | null;

  @Field(() => String)
  etag!: string;
}

@InputType({
  description: "Whose limit is set, of what, and how much. Name a member or a key; neither for the tenant.",
})
export class SetLimitInput {
  @Field(() => LimitLevel, {
    description: "Administrators of a tenant set limits of members and keys; those of the platform the others, too.",
  })
  level!: LimitLevel;

  @Field(() => ID, {
    nullable: true,
    description: "Another tenant than the caller's: for administrators of the platform.",
  })
  tenantId?: string;

  @Field(() => ID, { nullable: true, description: "Of MEMBER." })
  userId?: string;

  @Field(() => ID, { nullable: true, description: "Of API_KEY." })
  apiKeyId?: string;

  @Field(() => LimitKind)
  kind!: LimitKind;

  @Field(() => LimitWindow, {
    nullable: true,
    description: "Of credits: HOUR, DAY, MONTH or TOTAL. Other kinds have one window each and need none.",
  })
  window?: LimitWindow;

  @Field(() => Boolean, {
    nullable: true,
    description: "Of credits in a window: the last one, not the one of the calendar.",
  })
  isRolling?: boolean;

  @Field(() => Amount, { nullable: true, description: "Null takes the limit away." })
  max?: string;

  @Field(() => String, { nullable: true, description: "The etag of the limit as it was seen." })
  ifMatch?: string;

  @Field(() => String, { description: "Why, for the audit log." })
  reason!: string;
}

@InputType()
export class ChangeCreditsInput {
  @Field(() => ID, { nullable: true, description: "The caller's tenant unless given." })
  tenantId?: string;

  @Field(() => Credits, { description: "To add: more than 0 for a grant; an adjustment may take credits away." })
  credits!: string;

  @Field(() => String, { nullable: true, description: "The etag of the balance as it was seen." })
  ifMatch?: string;

  @Field(() => String, { description: "Why, for the ledger and the audit log." })
  reason!: string;
}

@ObjectType()
export class SetLimitPayload {
  @Field(() => Limit, { nullable: true, description: "Null when it was taken away." })
  limit?: Limit | null;

  @Field(() => [UserError])
  userErrors!: readonly UserError[];
}

@ObjectType()
export class ChangeCreditsPayload {
  @Field(() => CreditBalance, { nullable: true })
  credits?: CreditBalance;

  @Field(() => [UserError])
  userErrors!: readonly UserError[];
}
