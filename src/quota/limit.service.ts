/** Setting and reading limits and balances. Every change has a reason, and an entry in the audit log. */
import { type AuditContent, appendAudit, appendReading, PLATFORM_CHAIN } from "../audit/audit.store.ts";
import { findApiKey, lockMember } from "../auth/api-key.store.ts";
import { authorize, authorizePlatform, mayForAll } from "../auth/authorization.ts";
import { actorOf, type Principal } from "../auth/principal.ts";
import type { LimitKind, LimitWindow } from "../generated/prisma/enums.ts";
import { type Access, asPlatform, asTenant } from "../platform/access.ts";
import type { Database, Tx } from "../platform/database.ts";
import { DomainError } from "../platform/errors.ts";
import { checkEtag } from "../platform/etag.ts";
import { fromGlobalId, notFound } from "../platform/ids.ts";
import { readReason } from "../platform/text.ts";
import { readTenant, requireTenant, tenantIdOf } from "../tenancy/tenant-reading.ts";
import { readAmount, readCredits } from "./amount.ts";
import { toBalance, toLimit } from "./limit.mapper.ts";
import {
  balanceKey,
  deleteLimit,
  findLimit,
  type LimitKey,
  type LimitRow,
  listLimits,
  lockForSetting,
  lockLimit,
  platformKey,
  saveLimit,
} from "./limit.store.ts";
import type { ChangeCreditsInput, Limit, SetLimitInput } from "./limit.type.ts";
import type { QuotaService } from "./quota.service.ts";
import type { CreditBalance } from "./quota.type.ts";

/** Of one answer. */
const MAX_LIMITS = 1000;
const RATES: readonly LimitKind[] = ["REQUESTS_PER_MINUTE", "PIXELS_PER_MINUTE"];

export interface LimitServices {
  readonly db: Database;
  readonly quota: QuotaService;
}

export interface LimitQuery {
  readonly tenantId?: string | undefined;
  readonly platform: boolean;
}

export class LimitService {
  constructor(private readonly services: LimitServices) {}

  /** All of the tenant's for its operators; otherwise the tenant's own, the member's and the key's. */
  async list(principal: Principal, { tenantId: globalId, platform }: LimitQuery): Promise<readonly Limit[]> {
    if (platform) return this.listOfPlatform(principal);
    const reading = { action: "limit:read", tenantId: globalId, path: ["tenantId"] } as const;
    const rows = await readTenant(this.services.db, principal, reading, (tx, tenantId) => {
      const isAll = tenantId !== principal.tenantId || mayForAll(principal, "limit:read");
      const own = [tenantId, principal.userId, ...(principal.apiKeyId === null ? [] : [principal.apiKeyId])];
      return listLimits(tx, { tenantId, subjectIds: isAll ? undefined : own }, MAX_LIMITS);
    });
    return rows.map(toLimit);
  }

  private async listOfPlatform(principal: Principal): Promise<readonly Limit[]> {
    authorizePlatform(principal);
    const rows = await this.services.db.transaction(asPlatform, async (tx) => {
      const found = await listLimits(tx, { tenantId: platformKey.tenantId }, MAX_LIMITS);
      const target = { type: "Platform", id: PLATFORM_CHAIN };
      await appendReading(tx, PLATFORM_CHAIN, { actor: actorOf(principal), action: "limit:read", target });
      return found;
    });
    return rows.map(toLimit);
  }

  /** Sets a limit, or takes it away when there is no `max`. */
  async set(principal: Principal, input: SetLimitInput): Promise<Limit | null> {
    const reason = requireReason(input.reason);
    const window = readWindow(input);
    const isRolling = RATES.includes(input.kind) || (input.isRolling ?? false);
    const { access, tenantId } = this.accessTo(principal, input);
    return this.services.db.transaction(access, async (tx) => {
      const subject = await subjectOf(tx, input, tenantId);
      const key: LimitKey = { ...subject, kind: input.kind, window };
      const isRemoval = input.max === undefined;
      const before = await (isRemoval ? lockLimit(tx, key) : lockForSetting(tx, key, isRolling));
      checkEtag(input.ifMatch, before?.version ?? 0);
      if (input.max === undefined) await deleteLimit(tx, key);
      else await saveLimit(tx, { ...key, isRolling, max: readAmount(input.kind, input.max, ["input", "max"]) });
      const after = await findLimit(tx, key);
      await audit(tx, principal, { action: "limit:set", reason, key, before, after });
      return after === undefined ? null : toLimit(after);
    });
  }

  grant(principal: Principal, input: ChangeCreditsInput): Promise<CreditBalance> {
    return this.changeCredits(principal, input, "GRANT");
  }

  adjust(principal: Principal, input: ChangeCreditsInput): Promise<CreditBalance> {
    return this.changeCredits(principal, input, "ADJUST");
  }

  private async changeCredits(
    principal: Principal,
    input: ChangeCreditsInput,
    kind: "GRANT" | "ADJUST",
  ): Promise<CreditBalance> {
    authorizePlatform(principal);
    const reason = requireReason(input.reason);
    const path = ["input", "credits"];
    const credits = readCredits(input.credits, path);
    if (credits === 0n || (kind === "GRANT" && credits < 0n))
      throw new DomainError("INVALID_INPUT", "Give a number of credits above 0; adjustCredits takes some away.", {
        path,
      });
    const tenantId = tenantIdOf(principal, input.tenantId, ["input", "tenantId"]);
    const key = balanceKey(tenantId);
    return this.services.db.transaction(asPlatform, async (tx) => {
      await requireTenant(tx, tenantId, { globalId: input.tenantId, path: ["input", "tenantId"] });
      const before = await lockLimit(tx, key);
      checkEtag(input.ifMatch, before?.version ?? 0);
      if (!(await this.services.quota.changeBalance(tx, tenantId, { credits, reason, kind })))
        throw new DomainError(
          "INVALID_INPUT",
          "The tenant has not that many credits left that are neither used nor held.",
          {
            path,
          },
        );
      const after = await findLimit(tx, key);
      const action = kind === "GRANT" ? "credits:grant" : "credits:adjust";
      await audit(tx, principal, { action, reason, key, before, after });
      return toBalance(after);
    });
  }

  /** Members' and keys' limits are their tenant's to set; the others the platform's. */
  private accessTo(
    principal: Principal,
    { level, tenantId: globalId }: SetLimitInput,
  ): { access: Access; tenantId: string } {
    const tenantId = tenantIdOf(principal, globalId, ["input", "tenantId"]);
    if ((level === "MEMBER" || level === "API_KEY") && tenantId === principal.tenantId) {
      authorize(principal, "limit:set", { tenantId, userId: "" });
      return { access: asTenant(tenantId), tenantId };
    }
    authorizePlatform(principal);
    return { access: asPlatform, tenantId };
  }
}

/** Another tenant's member or key is as absent as none. */
async function subjectOf(
  tx: Tx,
  { level, userId, apiKeyId, tenantId: globalId }: SetLimitInput,
  tenantId: string,
): Promise<Pick<LimitKey, "tenantId" | "level" | "subjectId">> {
  if ((level === "MEMBER") !== (userId !== undefined) || (level === "API_KEY") !== (apiKeyId !== undefined))
    throw new DomainError("INVALID_INPUT", "MEMBER needs userId, API_KEY needs apiKeyId, other levels neither.", {
      path: ["input", "level"],
    });
  if (level === "PLATFORM") return platformKey;
  await requireTenant(tx, tenantId, { globalId, path: ["input", "tenantId"] });
  if (userId !== undefined) {
    const subjectId = fromGlobalId("User", userId, ["input", "userId"]);
    if ((await lockMember(tx, { tenantId, userId: subjectId })) === undefined)
      throw notFound("User", userId, ["input", "userId"]);
    return { tenantId, level, subjectId };
  }
  if (apiKeyId !== undefined) {
    const subjectId = fromGlobalId("ApiKey", apiKeyId, ["input", "apiKeyId"]);
    if ((await findApiKey(tx, subjectId))?.tenantId !== tenantId)
      throw notFound("ApiKey", apiKeyId, ["input", "apiKeyId"]);
    return { tenantId, level, subjectId };
  }
  return { tenantId, level, subjectId: tenantId };
}

/** What a kind of limit can be on a level, and its window. */
function readWindow({ level, kind, window, isRolling = false }: SetLimitInput): LimitWindow {
  const refuse = (message: string, field: string): never => {
    throw new DomainError("INVALID_INPUT", message, { path: ["input", field] });
  };
  if (kind !== "CREDITS") {
    const only = RATES.includes(kind) ? "MINUTE" : "TOTAL";
    if (window !== undefined && window !== only) refuse(`${kind} has the window ${only}.`, "window");
    if (isRolling && only === "TOTAL") refuse(`${kind} counts what there is now: it has no window.`, "isRolling");
    if (level === "PLATFORM" && kind === "STORAGE_BYTES") refuse("The platform has no limit of storage.", "kind");
    return only;
  }
  if (level === "PLATFORM") return refuse("The platform has no limit of credits.", "kind");
  if (window === undefined || window === "MINUTE")
    return refuse("Credits are limited by HOUR, DAY, MONTH or TOTAL.", "window");
  if (window === "TOTAL" && isRolling) refuse("What counts in total has no window.", "isRolling");
  if (window === "TOTAL" && level === "TENANT")
    refuse("A tenant's credits in total are its balance: use grantCredits or adjustCredits.", "window");
  return window;
}

function requireReason(given: string): string {
  return readReason(given) ?? "";
}

interface LimitChange {
  readonly action: string;
  readonly reason: string;
  readonly key: LimitKey;
  readonly before: LimitRow | undefined;
  readonly after: LimitRow | undefined;
}

/** In the chain of the tenant; what an administrator of the platform does, in the platform's, too. */
async function audit(tx: Tx, principal: Principal, { action, reason, key, before, after }: LimitChange): Promise<void> {
  const { tenantId, level, subjectId, kind, window } = key;
  const facts = (row: LimitRow | undefined) =>
    row === undefined ? null : { level, kind, window, isRolling: row.isRolling, max: String(row.max) };
  const target = { type: "Limit", id: subjectId };
  const content: AuditContent = {
    actor: actorOf(principal),
    action,
    target,
    reason,
    before: facts(before),
    after: facts(after),
  };
  if (level !== "PLATFORM") await appendAudit(tx, tenantId, content);
  if (level === "PLATFORM" || level === "TENANT" || tenantId !== principal.tenantId)
    await appendAudit(tx, PLATFORM_CHAIN, content);
}
