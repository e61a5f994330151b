/** Things that anybody who may read them finds by their id alone (GraphQL Global Object Identification). */
import { Field, ID, InterfaceType } from "type-graphql";
import { typeOfGlobalId } from "./ids.ts";

@InterfaceType({
  description: "Something with an id by which `node` finds it.",
  resolveType: ({ id }: Node) => typeOfGlobalId(id),
})
export abstract class Node {
  @Field(() => ID)
  id!: string;
}
