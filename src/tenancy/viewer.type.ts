import { Field, Float, GraphQLISODateTime, ID, Int, ObjectType, registerEnumType } from "type-graphql";
import { ApiKey } from "../auth/api-key.type.ts";
import { Role, Scope } from "../generated/prisma/enums.ts";
import { Node } from "../platform/node.type.ts";

registerEnumType(Role, { name: "Role", description: "What a member may do in a tenant." });

@ObjectType({ description: "For how many days a tenant keeps what it has; null for ever." })
export class Retention {
  @Field(() => Int, { nullable: true, description: "Pictures and answers, from the end of their generation." })
  outputsDays!: number | null;

  @Field(() => Int, { nullable: true, description: "Uploads, from their creation." })
  inputsDays!: number | null;

  @Field(() => Int, {
    nullable: true,
    description: "Prompts and other texts, from the end of their generation or batch.",
  })
  promptsDays!: number | null;
}

@ObjectType({ implements: Node, description: "The paying unit: members, credits and generations belong to one." })
export class Tenant extends Node {
  @Field(() => String)
  name!: string;

  @Field(() => GraphQLISODateTime)
  createdAt!: Date;

  @Field(() => GraphQLISODateTime, { nullable: true, description: "While it is set, its members can only read." })
  suspendedAt!: Date | null;

  @Field(() => GraphQLISODateTime, { nullable: true, description: "Nothing of it is left, or will be in minutes." })
  erasedAt!: Date | null;

  @Field(() => Retention)
  retention!: Retention;

  @Field(() => Float, {
    description: "Its part of the workers' time while others have something waiting too, against 1 of any other.",
  })
  shareWeight!: number;

  @Field(() => String, { description: "For ifMatch." })
  etag!: string;

  /** Not public: the database id. */
  uuid!: string;
}

@ObjectType({ implements: Node, description: "A person, or a program that is treated like one." })
export class User extends Node {
  @Field(() => String)
  name!: string;

  @Field(() => String, { nullable: true })
  email!: string | null;
}

@ObjectType({ description: "A tenant that the caller can name in X-Tenant." })
export class ViewerTenant {
  @Field(() => ID)
  id!: string;

  @Field(() => String)
  name!: string;

  @Field(() => Role)
  role!: Role;

  @Field(() => Boolean)
  isSuspended!: boolean;
}

@ObjectType({ description: "Who calls, and for which tenant." })
export class Viewer {
  @Field(() => User)
  user!: User;

  @Field(() => Tenant)
  tenant!: Tenant;

  @Field(() => Role)
  role!: Role;

  @Field(() => Boolean, { description: "Manages tenants of the whole platform." })
  isPlatformAdmin!: boolean;

  @Field(() => [Scope], { description: "What the caller may do something of: the role's, as far as the key has them." })
  scopes!: readonly Scope[];

  @Field(() => ApiKey, { nullable: true, description: "Null for a person who signed in." })
  apiKey!: ApiKey | null;

  @Field(() => [ViewerTenant], { description: "All tenants of a person; the one of a key." })
  tenants!: readonly ViewerTenant[];
}
