import type { Principal } from "../auth/principal.ts";
import { asTenant } from "../platform/access.ts";
import type { Database } from "../platform/database.ts";
import { toGlobalId } from "../platform/ids.ts";
import { getMembership } from "./tenancy.store.ts";
import type { Viewer } from "./viewer.type.ts";

export class TenancyService {
  constructor(private readonly db: Database) {}

  async getViewer({ tenantId, userId }: Principal): Promise<Viewer> {
    const { tenant, user, role } = await this.db.transaction(asTenant(tenantId), (tx) =>
      getMembership(tx, { tenantId, userId }),
    );
    return {
      user: { id: toGlobalId("User", user.id), name: user.name },
      tenant: { id: toGlobalId("Tenant", tenant.id), name: tenant.name, uuid: tenant.id },
      role,
      isPlatformAdmin: user.isPlatformAdmin,
    };
  }
}
