/** How long a tenant keeps what it has, as its administrators say. */
import { appendAudit } from "../audit/audit.store.ts";
import { authorize } from "../auth/authorization.ts";
import { actorOf, type Principal } from "../auth/principal.ts";
import { asTenant } from "../platform/access.ts";
import type { Database } from "../platform/database.ts";
import { DomainError, invariant } from "../platform/errors.ts";
import { checkEtag } from "../platform/etag.ts";
import { readReason } from "../platform/text.ts";
import { lockTenant } from "../tenancy/tenancy.store.ts";
import { toTenant } from "../tenancy/tenant.mapper.ts";
import type { Tenant } from "../tenancy/viewer.type.ts";
import { type RetentionDays, saveRetention } from "./retention.store.ts";
import type { SetRetentionInput } from "./retention.type.ts";

const MAX_DAYS = 3650;

export class RetentionService {
  constructor(private readonly db: Database) {}

  async set(principal: Principal, input: SetRetentionInput): Promise<Tenant> {
    authorize(principal, "tenant:manage");
    const { tenantId } = principal;
    const days = { outputsDays: read(input, "outputsDays"), inputsDays: read(input, "inputsDays") };
    const retention: RetentionDays = { ...days, promptsDays: read(input, "promptsDays") };
    const reason = readReason(input.reason);
    return this.db.transaction(asTenant(tenantId), async (tx) => {
      const found = await lockTenant(tx, tenantId);
      invariant(found !== undefined, "a caller's tenant exists");
      checkEtag(input.ifMatch, found.version);
      const row = await saveRetention(tx, tenantId, retention);
      const { outputsDays, inputsDays, promptsDays } = found;
      const content = { actor: actorOf(principal), action: "retention:set", target: { type: "Tenant", id: tenantId } };
      const before = { outputsDays, inputsDays, promptsDays };
      await appendAudit(tx, tenantId, { ...content, reason, before, after: { ...retention } });
      return toTenant(row);
    });
  }
}

function read(input: SetRetentionInput, field: keyof RetentionDays): number | null {
  const days = input[field];
  if (days === undefined) return null;
  if (days >= 1 && days <= MAX_DAYS) return days;
  throw new DomainError("INVALID_INPUT", `${field} is ${days}; 1 to ${MAX_DAYS} are possible, or null for ever.`, {
    path: ["input", field],
  });
}
