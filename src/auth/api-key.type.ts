import { Field, GraphQLISODateTime, ID, InputType, Int, ObjectType, registerEnumType } from "type-graphql";
import { Scope } from "../generated/prisma/enums.ts";
import { Node } from "../platform/node.type.ts";
import { PageInfo } from "../platform/page.type.ts";
import { UserError } from "../platform/user-error.type.ts";

registerEnumType(Scope, { name: "Scope", description: "A part of what a role may do, as keys can be limited to." });

@ObjectType({
  implements: Node,
  description: "Lets a program act for a member of one tenant, until it expires or is revoked.",
})
export class ApiKey extends Node {
  @Field(() => String)
  name!: string;

  @Field(() => String, { description: "The first characters of the secret, to recognise it by." })
  prefix!: string;

  @Field(() => ID, { description: "The member it acts for." })
  userId!: string;

  @Field(() => [Scope], { nullable: true, description: "Null: everything that the member's role may." })
  scopes!: readonly Scope[] | null;

  @Field(() => [String], { nullable: true, description: "Null: all presets." })
  allowedPresets!: readonly string[] | null;

  @Field(() => GraphQLISODateTime)
  createdAt!: Date;

  @Field(() => GraphQLISODateTime, { nullable: true, description: "To the minute." })
  lastUsedAt!: Date | null;

  @Field(() => GraphQLISODateTime, { nullable: true })
  expiresAt!: Date | null;

  @Field(() => GraphQLISODateTime, {
    nullable: true,
    description: "It stops working then: in the future while a key that replaces it is being handed out.",
  })
  revokedAt!: Date | null;

  @Field(() => ID, { nullable: true, description: "The key that replaces it." })
  replacedById!: string | null;

  @Field(() => String, { description: "For ifMatch." })
  etag!: string;
}

@ObjectType()
export class ApiKeyEdge {
  @Field(() => String)
  cursor!: string;

  @Field(() => ApiKey)
  node!: ApiKey;
}

@ObjectType({ description: "Newest first." })
export class ApiKeyConnection {
  @Field(() => [ApiKeyEdge])
  edges!: readonly ApiKeyEdge[];

  @Field(() => [ApiKey])
  nodes!: readonly ApiKey[];

  @Field(() => PageInfo)
  pageInfo!: PageInfo;
}

@ObjectType()
export class NewApiKeyPayload {
  @Field(() => ApiKey, { nullable: true })
  apiKey?: ApiKey;

  @Field(() => String, { nullable: true, description: "Shown this once: only its hash is kept." })
  secret?: string;

  @Field(() => [UserError])
  userErrors!: readonly UserError[];
}

@ObjectType()
export class RevokeApiKeyPayload {
  @Field(() => ApiKey, { nullable: true })
  apiKey?: ApiKey;

  @Field(() => [UserError])
  userErrors!: readonly UserError[];
}

@InputType()
export class CreateApiKeyInput {
  @Field(() => String, { description: "1 to 100 characters." })
  name!: string;

  @Field(() => ID, {
    nullable: true,
    description: "The member it acts for: oneself unless named, which administrators may.",
  })
  userId?: string;

  @Field(() => [Scope], { nullable: true, description: "Everything that the maker and the member may, unless given." })
  scopes?: Scope[];

  @Field(() => [String], {
    nullable: true,
    description: "Presets that it may use; all that the maker may, unless given.",
  })
  allowedPresets?: string[];

  @Field(() => GraphQLISODateTime, {
    nullable: true,
    description: "A key made with a key ends no later than that one.",
  })
  expiresAt?: Date;

  @Field(() => String, { nullable: true, description: "For the audit log." })
  reason?: string;
}

@InputType()
export class RotateApiKeyInput {
  @Field(() => ID)
  id!: string;

  @Field(() => Int, {
    defaultValue: 0,
    description: "How long the old key goes on working beside the new one: up to 30 days.",
  })
  overlapSeconds!: number;

  @Field(() => GraphQLISODateTime, { nullable: true, description: "Of the new key; that of the old one unless given." })
  expiresAt?: Date;

  @Field(() => String, { nullable: true, description: "For the audit log." })
  reason?: string;

  @Field(() => String, { nullable: true, description: "The etag of the key as it was seen." })
  ifMatch?: string;
}

@InputType()
export class RevokeApiKeyInput {
  @Field(() => ID)
  id!: string;

  @Field(() => String, { nullable: true, description: "For the audit log." })
  reason?: string;

  @Field(() => String, { nullable: true, description: "The etag of the key as it was seen." })
  ifMatch?: string;
}
