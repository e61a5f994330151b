/** Erasing tenants, for administrators of the platform. */
import { appendAudit, PLATFORM_CHAIN } from "../audit/audit.store.ts";
import { authorizePlatform } from "../auth/authorization.ts";
import { actorOf, type Principal } from "../auth/principal.ts";
import { asPlatform } from "../platform/access.ts";
import type { Database } from "../platform/database.ts";
import { DomainError } from "../platform/errors.ts";
import { checkEtag } from "../platform/etag.ts";
import { fromGlobalId, notFound } from "../platform/ids.ts";
import { readReason } from "../platform/text.ts";
import { findTombstone, lockTenant } from "../tenancy/tenancy.store.ts";
import { toTenant } from "../tenancy/tenant.mapper.ts";
import type { Tenant } from "../tenancy/viewer.type.ts";
import type { EraseTenantInput } from "./erasure.type.ts";
import { closeTenant, isFirstTenant } from "./tenant-erasure.store.ts";

const ID_PATH = ["input", "id"];

export class ErasureService {
  constructor(private readonly services: { readonly db: Database; readonly onErased: () => void }) {}

  /** Nobody enters it any more when this has committed; its rows and bytes follow. Erasing twice is no error. */
  async erase(principal: Principal, input: EraseTenantInput): Promise<Tenant> {
    authorizePlatform(principal);
    const id = fromGlobalId("Tenant", input.id, ID_PATH);
    const reason = readReason(input.reason);
    const row = await this.services.db.transaction(asPlatform, async (tx) => {
      const found = await lockTenant(tx, id);
      const erased = found === undefined ? await findTombstone(tx, id) : undefined;
      if (erased !== undefined) return erased;
      if (found === undefined) throw notFound("Tenant", input.id, ID_PATH);
      checkEtag(input.ifMatch, found.version);
      if (input.name !== found.name)
        refuse("name", "This is not the name of the tenant. Give it as it is, to be sure.");
      if (id === principal.tenantId || (await isFirstTenant(tx, id)))
        refuse("id", "The tenant that you act for, and the first one of a server, cannot be erased.");
      const closed = await closeTenant(tx, id);
      const content = { actor: actorOf(principal), action: "tenant:erase", target: { type: "Tenant", id }, reason };
      for (const chain of [id, PLATFORM_CHAIN])
        await appendAudit(tx, chain, { ...content, before: { version: found.version }, after: null });
      return closed;
    });
    this.services.onErased();
    return toTenant(row);
  }
}

function refuse(field: string, message: string): never {
  throw new DomainError("INVALID_INPUT", message, { path: ["input", field] });
}
