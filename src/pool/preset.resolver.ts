import { Ctx, Query, Resolver } from "type-graphql";
import { principalOf, type RequestContext } from "../auth/request-context.ts";
import { asAnyone } from "../platform/access.ts";
import type { Database } from "../platform/database.ts";
import type { PoolCatalog } from "./pool-catalog.ts";
import { Preset } from "./preset.type.ts";

@Resolver(() => Preset)
export class PresetResolver {
  constructor(
    private readonly db: Database,
    private readonly catalog: PoolCatalog,
  ) {}

  @Query(() => [Preset], { description: "The models on offer, with their allowed settings and defaults." })
  async presets(@Ctx() context: RequestContext): Promise<readonly Preset[]> {
    principalOf(context);
    return this.db.transaction(asAnyone, (tx) => this.catalog.list(tx));
  }
}
