/** Tenants, as administrators of the platform manage them. Each use of their rights is in the platform's audit log. */
import { setImmediate } from "node:timers/promises";
import { type AuditContent, appendAudit, PLATFORM_CHAIN } from "../audit/audit.store.ts";
import { newSecret } from "../auth/api-key.ts";
import { insertApiKey } from "../auth/auth.store.ts";
import { authorizePlatform } from "../auth/authorization.ts";
import { actorOf, type Principal } from "../auth/principal.ts";
import type { Tenant as TenantRow } from "../generated/prisma/client.ts";
import { asPlatform } from "../platform/access.ts";
import type { Database, Tx } from "../platform/database.ts";
import { DomainError } from "../platform/errors.ts";
import { checkEtag } from "../platform/etag.ts";
import { fromGlobalId, notFound, toGlobalId } from "../platform/ids.ts";
import { pageOf, pageRequest } from "../platform/page.ts";
import type { PageArguments } from "../platform/page.type.ts";
import { readReason, requireText } from "../platform/text.ts";
import { readPerson } from "./member.service.ts";
import { findOrAddPerson, insertMembership } from "./member.store.ts";
import type {
  CreateTenantInput,
  CreateTenantPayload,
  SetShareWeightInput,
  SuspendTenantInput,
  TenantConnection,
} from "./platform.type.ts";
import {
  getTenant,
  insertTenant,
  listTenants,
  lockTenant,
  setParked,
  setShareWeight,
  setSuspended,
} from "./tenancy.store.ts";
import { toTenant } from "./tenant.mapper.ts";
import { readAllTenants } from "./tenant-reading.ts";
import type { Tenant } from "./viewer.type.ts";

const MAX_NAME = 100;
const FIRST_KEY_NAME = "first key";
/** Generations that are parked, or taken back, in one transaction. */
const MOVED_AT_ONCE = 5000;
const ID_PATH = ["input", "id"];
/** As the table has it. */
const MAX_WEIGHT = 1000;

interface TenantChange {
  readonly action: string;
  /** For the audit logs. */
  factsOf(row: TenantRow): Readonly<Record<string, string | number | null>>;
  /** The row itself when it is as wanted already. */
  change(tx: Tx, before: TenantRow): Promise<TenantRow> | TenantRow;
}

export class PlatformService {
  constructor(private readonly db: Database) {}

  async list(principal: Principal, page: PageArguments): Promise<TenantConnection> {
    authorizePlatform(principal);
    const request = pageRequest(page);
    const rows = await readAllTenants(this.db, principal, "tenant:list", (tx) => listTenants(tx, request));
    return pageOf(rows, request, toTenant);
  }

  async create(principal: Principal, input: CreateTenantInput): Promise<Omit<CreateTenantPayload, "userErrors">> {
    authorizePlatform(principal);
    const name = requireText(input.name, { max: MAX_NAME, path: ["input", "name"] });
    const person = readPerson(input.owner);
    if (person.email === null && !input.withApiKey) {
      throw new DomainError("INVALID_INPUT", "Nobody could enter: give the owner an email, or set withApiKey.", {
        path: ["input", "withApiKey"],
      });
    }
    const reason = readReason(input.reason);
    return this.db.transaction(asPlatform, async (tx) => {
      const tenantId = await insertTenant(tx, name);
      const userId = await findOrAddPerson(tx, person);
      const owner = await insertMembership(tx, { tenantId, userId, role: "OWNER" });
      const secret = input.withApiKey ? newSecret() : null;
      if (secret !== null) await insertApiKey(tx, { tenantId, userId, name: FIRST_KEY_NAME, secret });
      const target = { type: "Tenant", id: tenantId };
      const after = { name, ownerId: userId, withApiKey: input.withApiKey };
      const content = { actor: actorOf(principal), action: "tenant:create", target, reason, before: null, after };
      await this.audit(tx, content);
      const user = { id: toGlobalId("User", userId), name: owner?.user.name ?? person.name, email: person.email };
      return { tenant: toTenant(await getTenant(tx, tenantId)), owner: user, secret };
    });
  }

  /** Nothing of the tenant is claimed any more when this has committed; parking its queue only keeps claims fast. */
  async suspend(principal: Principal, input: SuspendTenantInput): Promise<Tenant> {
    const tenant = await this.setSuspended(principal, input, { isSuspended: true, action: "tenant:suspend" });
    await this.parkIfSuspended(tenant.uuid);
    return tenant;
  }

  /** Nothing of the tenant stays parked when this has committed, so the long part of it comes first. */
  async resume(principal: Principal, input: SuspendTenantInput): Promise<Tenant> {
    authorizePlatform(principal);
    const id = fromGlobalId("Tenant", input.id, ID_PATH);
    const unpark = { isParked: false, limit: MOVED_AT_ONCE };
    while ((await this.db.transaction(asPlatform, (tx) => setParked(tx, id, unpark))) > 0) await setImmediate();
    try {
      return await this.setSuspended(principal, input, { isSuspended: false, action: "tenant:resume" });
    } finally {
      await this.parkIfSuspended(id);
      this.db.doorbell.ring();
    }
  }

  private async parkIfSuspended(id: string): Promise<void> {
    const parkSome = () =>
      this.db.transaction(asPlatform, async (tx) => {
        const tenant = await lockTenant(tx, id);
        const isSuspended = tenant !== undefined && tenant.suspendedAt !== null;
        return isSuspended ? setParked(tx, id, { isParked: true, limit: MOVED_AT_ONCE }) : 0;
      });
    while ((await parkSome()) > 0) await setImmediate(); // queries of the embedded database leave no turn to others
  }

  /** Takes effect when work of the tenant that is queued from now on, or has not been looked at yet, starts. */
  async setShareWeight(principal: Principal, { weight, ...input }: SetShareWeightInput): Promise<Tenant> {
    authorizePlatform(principal);
    if (!(weight > 0 && weight <= MAX_WEIGHT))
      throw new DomainError("INVALID_INPUT", `weight is ${weight}; above 0 to ${MAX_WEIGHT} are possible.`, {
        path: ["input", "weight"],
      });
    return this.change(principal, input, {
      action: "tenant:set-share-weight",
      factsOf: ({ shareWeight }) => ({ shareWeight }),
      change: (tx, before) => (before.shareWeight === weight ? before : setShareWeight(tx, before.id, weight)),
    });
  }

  private setSuspended(
    principal: Principal,
    input: SuspendTenantInput,
    { isSuspended, action }: { isSuspended: boolean; action: string },
  ): Promise<Tenant> {
    return this.change(principal, input, {
      action,
      factsOf: ({ suspendedAt }) => ({ suspendedAt: suspendedAt?.toISOString() ?? null }),
      change: async (tx, before) => {
        if ((before.suspendedAt !== null) === isSuspended) return before;
        const row = await setSuspended(tx, before.id, isSuspended);
        if (!isSuspended) await setParked(tx, before.id, { isParked: false, limit: null });
        return row;
      },
    });
  }

  /** What is as it was already is no change. */
  private async change(
    principal: Principal,
    { id: globalId, ifMatch, ...input }: SuspendTenantInput,
    { action, factsOf, change }: TenantChange,
  ): Promise<Tenant> {
    authorizePlatform(principal);
    const reason = readReason(input.reason);
    const id = fromGlobalId("Tenant", globalId, ID_PATH);
    return this.db.transaction(asPlatform, async (tx) => {
      const before = await lockTenant(tx, id);
      if (before === undefined) throw notFound("Tenant", globalId, ID_PATH);
      checkEtag(ifMatch, before.version);
      const row = await change(tx, before);
      if (row === before) return toTenant(row);
      const target = { type: "Tenant", id };
      const content = { actor: actorOf(principal), action, target, reason };
      await this.audit(tx, { ...content, before: factsOf(before), after: factsOf(row) });
      return toTenant(row);
    });
  }

  /** In the tenant's own log and in the platform's, always in this order. */
  private async audit(tx: Tx, content: AuditContent): Promise<void> {
    await appendAudit(tx, content.target.id, content);
    await appendAudit(tx, PLATFORM_CHAIN, content);
  }
}
