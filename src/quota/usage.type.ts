import {
  ArgsType,
  Field,
  Float,
  GraphQLISODateTime,
  ID,
  InputType,
  Int,
  ObjectType,
  registerEnumType,
} from "type-graphql";
import { LedgerKind, TaskKind } from "../generated/prisma/enums.ts";
import { PageInfo } from "../platform/page.type.ts";
import { Credits } from "../platform/scalars.ts";
import type { UsageGroup } from "./usage.store.ts";

const UsageGroups: Record<UsageGroup, UsageGroup> = {
  DAY: "DAY",
  MEMBER: "MEMBER",
  API_KEY: "API_KEY",
  TASK: "TASK",
};
registerEnumType(UsageGroups, { name: "UsageGroup", description: "By what use is told apart." });
registerEnumType(LedgerKind, { name: "LedgerKind", description: "What changed a balance, or what is held of it." });

@InputType({ description: "Days are UTC, as YYYY-MM-DD, both included; at most 366 of them." })
export class UsageInput {
  @Field(() => ID, {
    nullable: true,
    description: "Another tenant than the caller's: for administrators of the platform.",
  })
  tenantId?: string;

  @Field(() => String)
  from!: string;

  @Field(() => String)
  to!: string;

  @Field(() => [UsageGroups], { description: "One row for each day, member, key or task; one row of all when empty." })
  groupBy!: UsageGroup[];

  @Field(() => ID, { nullable: true })
  userId?: string;

  @Field(() => ID, { nullable: true })
  apiKeyId?: string;

  @Field(() => TaskKind, { nullable: true })
  task?: TaskKind;
}

@ObjectType({ description: "What ended, by the day of its end. Fields that rows are not told apart by are null." })
export class Usage {
  @Field(() => String, { nullable: true, description: "UTC, as YYYY-MM-DD." })
  day!: string | null;

  @Field(() => ID, { nullable: true })
  userId!: string | null;

  @Field(() => ID, { nullable: true, description: "Null too for what was done without a key." })
  apiKeyId!: string | null;

  @Field(() => TaskKind, { nullable: true })
  task!: TaskKind | null;

  @Field(() => Float, { description: "Generations, whatever became of them." })
  ended!: number;

  @Field(() => Float)
  succeeded!: number;

  @Field(() => Credits, { description: "Charged." })
  credits!: string;

  @Field(() => Float, { description: "Of the pictures that were drawn." })
  pixels!: number;
}

/** Of a link to a file. */
@ArgsType()
export class CsvArguments {
  @Field(() => String)
  from!: string;

  @Field(() => String)
  to!: string;

  @Field(() => Int, { defaultValue: 300 })
  expiresInSeconds!: number;

  @Field(() => ID, { nullable: true })
  tenantId?: string;
}

@InputType()
export class LedgerFilter {
  @Field(() => ID, {
    nullable: true,
    description: "Another tenant than the caller's: for administrators of the platform.",
  })
  tenantId?: string;

  @Field(() => [LedgerKind], { nullable: true })
  kinds?: LedgerKind[];

  @Field(() => GraphQLISODateTime, { nullable: true })
  from?: Date;

  @Field(() => GraphQLISODateTime, { nullable: true, description: "Not included." })
  to?: Date;

  @Field(() => ID, { nullable: true })
  generationId?: string;
}

@ObjectType({ description: "One change of a tenant's credits. Entries are never changed: they add up to the balance." })
export class LedgerEntry {
  @Field(() => LedgerKind)
  kind!: LedgerKind;

  @Field(() => Credits, { description: "Change of the balance." })
  credits!: string;

  @Field(() => Credits, { description: "Change of what is held." })
  held!: string;

  @Field(() => ID, { nullable: true })
  generationId!: string | null;

  @Field(() => ID, { nullable: true })
  batchId!: string | null;

  @Field(() => String)
  reason!: string;

  @Field(() => GraphQLISODateTime)
  at!: Date;
}

@ObjectType()
export class LedgerEdge {
  @Field(() => String)
  cursor!: string;

  @Field(() => LedgerEntry)
  node!: LedgerEntry;
}

@ObjectType({ description: "Newest first." })
export class LedgerConnection {
  @Field(() => [LedgerEdge])
  edges!: readonly LedgerEdge[];

  @Field(() => [LedgerEntry])
  nodes!: readonly LedgerEntry[];

  @Field(() => PageInfo)
  pageInfo!: PageInfo;
}
