import { Field, ID, InputType, Int, ObjectType, registerEnumType } from "type-graphql";
import { ModerationLevel } from "../generated/prisma/enums.ts";
import { UserError } from "../platform/user-error.type.ts";
import { ModerationMode } from "./check.ts";

registerEnumType(ModerationLevel, {
  name: "ModerationLevel",
  description: "Whose checks they are, in the order in which they are asked.",
  valuesConfig: {
    PLATFORM: { description: "Of all tenants; set by administrators of the platform." },
    ASSIGNED: {
      description: "Of one tenant; set by administrators of the platform, and not to be removed by its own.",
    },
    TENANT: { description: "Of one tenant; set by its own administrators." },
  },
});
registerEnumType(ModerationMode, {
  name: "ModerationMode",
  description: "BLOCK: what the check objects to is refused. REPORT: it is noted only, to see what a check would do.",
});

@ObjectType({ description: "One entry of a list of checks." })
export class ModerationCheck {
  @Field(() => String)
  name!: string;

  @Field(() => ModerationMode)
  mode!: ModerationMode;

  @Field(() => String, { nullable: true, description: "What verdicts of a word list say." })
  category!: string | null;

  @Field(() => Int, { description: "Words and phrases." })
  wordCount!: number;

  @Field(() => [String], { nullable: true, description: "Null for what the platform keeps to itself." })
  words!: readonly string[] | null;
}

@ObjectType({ description: "An ordered list of checks. The first one that blocks ends the questions." })
export class ModerationPolicy {
  @Field(() => ModerationLevel)
  level!: ModerationLevel;

  @Field(() => [ModerationCheck])
  checks!: readonly ModerationCheck[];

  @Field(() => String, { description: "For ifMatch." })
  etag!: string;
}

@InputType({ description: "Words and phrases that prompts must not have." })
export class ModerationCheckInput {
  @Field(() => String, { description: "1 to 64 characters, unique in its list: verdicts and refusals say it." })
  name!: string;

  @Field(() => ModerationMode, { defaultValue: ModerationMode.BLOCK })
  mode!: ModerationMode;

  @Field(() => [String], {
    description:
      "1 to 10,000 words and phrases of up to 200 characters. Case, accents and full-width forms do not matter; only whole words count.",
  })
  words!: readonly string[];

  @Field(() => String, { nullable: true, description: "What verdicts shall say, such as: violence." })
  category?: string;
}

@InputType()
export class SetModerationPolicyInput {
  @Field(() => ModerationLevel, {
    defaultValue: ModerationLevel.TENANT,
    description: "Administrators of a tenant set TENANT; those of the platform the others.",
  })
  level!: ModerationLevel;

  @Field(() => ID, {
    nullable: true,
    description: "Of ASSIGNED: whose checks they are; the caller's tenant unless given.",
  })
  tenantId?: string;

  @Field(() => [ModerationCheckInput], { description: "All of them, in order: up to 20. None ends moderation." })
  checks!: readonly ModerationCheckInput[];

  @Field(() => String, { nullable: true, description: "The etag of the list as it was seen." })
  ifMatch?: string;

  @Field(() => String, { description: "Why, for the audit log." })
  reason!: string;
}

@ObjectType()
export class SetModerationPolicyPayload {
  @Field(() => ModerationPolicy, { nullable: true })
  policy?: ModerationPolicy;

  @Field(() => [UserError])
  userErrors!: readonly UserError[];
}
