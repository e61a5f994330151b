import { Field, ID, ObjectType, registerEnumType } from "type-graphql";
import { Role } from "../generated/prisma/enums.ts";

registerEnumType(Role, { name: "Role", description: "What a member may do in a tenant." });

@ObjectType({ description: "The paying unit: members, credits and generations belong to one." })
export class Tenant {
  @Field(() => ID)
  id!: string;

  @Field(() => String)
  name!: string;

  /** Not public: the database id. */
  uuid!: string;
}

@ObjectType({ description: "A person." })
export class User {
  @Field(() => ID)
  id!: string;

  @Field(() => String)
  name!: string;
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
}
