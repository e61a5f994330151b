/** Who calls, and for which tenant. */
import { toApiKey } from "../auth/api-key.mapper.ts";
import { findApiKey } from "../auth/api-key.store.ts";
import { effectiveScopes } from "../auth/authorization.ts";
import type { Principal } from "../auth/principal.ts";
import { asTenant } from "../platform/access.ts";
import type { Database } from "../platform/database.ts";
import { toGlobalId } from "../platform/ids.ts";
import { getMembership } from "./tenancy.store.ts";
import { toTenant } from "./tenant.mapper.ts";
import type { Viewer } from "./viewer.type.ts";

export class TenancyService {
  constructor(private readonly db: Database) {}

  async getViewer(principal: Principal): Promise<Viewer> {
    const { tenantId, userId, apiKeyId } = principal;
    const { membership, key } = await this.db.transaction(asTenant(tenantId), async (tx) => ({
      membership: await getMembership(tx, { tenantId, userId }),
      key: apiKeyId === null ? undefined : await findApiKey(tx, apiKeyId),
    }));
    const { tenant, user, role } = membership;
    return {
      user: { id: toGlobalId("User", user.id), name: user.name, email: user.email },
      tenant: toTenant(tenant),
      role,
      isPlatformAdmin: user.isPlatformAdmin,
      scopes: effectiveScopes(principal),
      apiKey: key === undefined ? null : toApiKey(key),
      tenants: principal.tenants.map(({ id, ...one }) => ({ ...one, id: toGlobalId("Tenant", id) })),
    };
  }
}
