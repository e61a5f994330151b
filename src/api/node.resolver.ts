import { Arg, Ctx, ID, Query, Resolver } from "type-graphql";
import { principalOf, type RequestContext, readsOf } from "../auth/request-context.ts";
import { DomainError } from "../platform/errors.ts";
import { Node } from "../platform/node.type.ts";
import { findNode } from "./node.service.ts";

const MAX_IDS = 100;

@Resolver()
export class NodeResolver {
  @Query(() => Node, {
    nullable: true,
    description: "Anything by its id. NOT_FOUND when there is nothing that the caller may read.",
  })
  node(@Arg("id", () => ID) id: string, @Ctx() context: RequestContext): Promise<Node> {
    return findNode(readsOf(context), principalOf(context), { globalId: id, path: ["id"] });
  }

  @Query(() => [Node], {
    nullable: "items",
    description:
      "Up to 100 things by their ids, in that order. Null, with an error of its own, is what `node` does not find.",
  })
  nodes(@Arg("ids", () => [ID]) ids: string[], @Ctx() context: RequestContext): Promise<Node>[] {
    const principal = principalOf(context);
    if (ids.length > MAX_IDS)
      throw new DomainError("INVALID_INPUT", `These are ${ids.length} ids; up to ${MAX_IDS} are possible.`, {
        path: ["ids"],
      });
    return ids.map((globalId, i) => findNode(readsOf(context), principal, { globalId, path: ["ids", String(i)] }));
  }
}
