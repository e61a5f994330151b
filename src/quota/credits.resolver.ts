import { FieldResolver, Resolver, Root } from "type-graphql";
import { asTenant } from "../platform/access.ts";
import type { Database } from "../platform/database.ts";
import { Tenant } from "../tenancy/viewer.type.ts";
import { toBalance } from "./limit.mapper.ts";
import { balanceKey, findLimit } from "./limit.store.ts";
import { CreditBalance } from "./quota.type.ts";

/** Only the viewer's own tenant is reachable, so no further right is needed. */
@Resolver(() => Tenant)
export class CreditsResolver {
  constructor(private readonly db: Database) {}

  @FieldResolver(() => CreditBalance)
  async credits(@Root() tenant: Tenant): Promise<CreditBalance> {
    const balance = await this.db.transaction(asTenant(tenant.uuid), (tx) => findLimit(tx, balanceKey(tenant.uuid)));
    return toBalance(balance);
  }
}
