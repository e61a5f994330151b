import { Field, GraphQLISODateTime, ID, Int, ObjectType, registerEnumType } from "type-graphql";
import { PageInfo } from "../platform/page.type.ts";
import { Json } from "../platform/scalars.ts";

export const AuditScope = { TENANT: "TENANT", PLATFORM: "PLATFORM" } as const;
export type AuditScope = keyof typeof AuditScope;
registerEnumType(AuditScope, {
  name: "AuditScope",
  description: "Which chain of entries: the tenant's own, or that of the platform, which its administrators read.",
});

@ObjectType({ description: "Who changed what. Never changed itself: each hash covers the one before it." })
export class AuditEntry {
  @Field(() => Int, { description: "Gap-free from 1." })
  seq!: number;

  @Field(() => GraphQLISODateTime)
  at!: Date;

  @Field(() => ID, { description: "The user who acted; one whose id is all zeros is the operator, at the machine." })
  actorId!: string;

  @Field(() => ID, { nullable: true, description: "The key they acted with." })
  apiKeyId!: string | null;

  @Field(() => String, { description: 'What was done, such as "member:add".' })
  action!: string;

  @Field(() => String)
  targetType!: string;

  @Field(() => ID)
  targetId!: string;

  @Field(() => String, { nullable: true, description: "In the words of who acted." })
  reason!: string | null;

  @Field(() => Json, { nullable: true })
  before!: unknown;

  @Field(() => Json, { nullable: true })
  after!: unknown;

  @Field(() => String, { description: "SHA-256, in hex, of the previous entry's hash followed by text." })
  hash!: string;

  @Field(() => String, { description: "The entry as it was hashed." })
  text!: string;
}

@ObjectType()
export class AuditEntryEdge {
  @Field(() => String)
  cursor!: string;

  @Field(() => AuditEntry)
  node!: AuditEntry;
}

@ObjectType({ description: "Oldest first." })
export class AuditEntryConnection {
  @Field(() => [AuditEntryEdge])
  edges!: readonly AuditEntryEdge[];

  @Field(() => [AuditEntry])
  nodes!: readonly AuditEntry[];

  @Field(() => PageInfo)
  pageInfo!: PageInfo;
}

@ObjectType({ description: "A chain of entries, recomputed from the first." })
export class AuditCheck {
  @Field(() => Int)
  entries!: number;

  @Field(() => String, {
    description:
      "Of the newest entry; empty while there is none. Kept elsewhere, it shows that a whole chain was replaced.",
  })
  headHash!: string;

  @Field(() => Int, { nullable: true, description: "The first entry that does not follow from those before it." })
  brokenAt!: number | null;
}
