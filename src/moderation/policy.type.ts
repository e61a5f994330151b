import { Field, ID, InputType, Int, ObjectType, registerEnumType } from "type-graphql";
import { ModerationLevel, ModerationStage } from "../generated/prisma/enums.ts";
import { UserError } from "../platform/user-error.type.ts";
import { CheckKind, ModerationMode, WhenUnavailable } from "./check.ts";

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

registerEnumType(CheckKind, {
  name: "ModerationCheckKind",
  description: "WORDS: a list of words and phrases. HTTP: the service that the operator of this server has set up.",
});
registerEnumType(WhenUnavailable, {
  name: "WhenUnavailable",
  description:
    "What becomes of something while its check cannot be asked: it passes, or is refused for the time being.",
});

@ObjectType({ description: "One entry of a list of checks." })
export class ModerationCheck {
  @Field(() => CheckKind)
  kind!: CheckKind;

  @Field(() => String)
  name!: string;

  @Field(() => ModerationMode)
  mode!: ModerationMode;

  @Field(() => String, { nullable: true, description: "What verdicts of a word list say." })
  category!: string | null;

  @Field(() => Int, { nullable: true, description: "Words and phrases of a word list." })
  wordCount!: number | null;

  @Field(() => [String], { nullable: true, description: "Null for what the platform keeps to itself." })
  words!: readonly string[] | null;

  @Field(() => [ModerationStage], { description: "What it is asked about." })
  stages!: readonly ModerationStage[];

  @Field(() => WhenUnavailable, { nullable: true, description: "Of HTTP." })
  whenUnavailable!: WhenUnavailable | null;
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

@InputType({ description: "Words and phrases that prompts must not have, or a question to the operator's service." })
export class ModerationCheckInput {
  @Field(() => CheckKind, { defaultValue: CheckKind.WORDS })
  kind!: CheckKind;

  @Field(() => String, { description: "1 to 64 characters, unique in its list: verdicts and refusals say it." })
  name!: string;

  @Field(() => ModerationMode, { defaultValue: ModerationMode.BLOCK })
  mode!: ModerationMode;

  @Field(() => [String], {
    nullable: true,
    description:
      "Of WORDS: words and phrases of up to 200 characters, at least one, and at most 10,000 in all checks of a list. Case, accents and full-width forms do not matter; only whole words count.",
  })
  words?: readonly string[];

  @Field(() => String, { nullable: true, description: "Of WORDS: what verdicts shall say, such as: violence." })
  category?: string;

  @Field(() => [ModerationStage], { nullable: true, description: "Of HTTP: what it is asked about; all unless given." })
  stages?: readonly ModerationStage[];

  @Field(() => WhenUnavailable, { nullable: true, description: "Of HTTP: REFUSE unless given." })
  whenUnavailable?: WhenUnavailable;
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
