/** Making, replacing and revoking keys: nobody gets more by a key than they have. */
import { appendAudit } from "../audit/audit.store.ts";
import type { ApiKey as ApiKeyRow } from "../generated/prisma/client.ts";
import type { Scope } from "../generated/prisma/enums.ts";
import { asTenant } from "../platform/access.ts";
import type { Database, Tx } from "../platform/database.ts";
import { DomainError } from "../platform/errors.ts";
import { checkEtag } from "../platform/etag.ts";
import { fromGlobalId, notFound } from "../platform/ids.ts";
import { pageOf, pageRequest } from "../platform/page.ts";
import type { PageArguments } from "../platform/page.type.ts";
import { readReason, requireText } from "../platform/text.ts";
import { apiKeyFacts, toApiKey } from "./api-key.mapper.ts";
import { endApiKey, hasEnded, listApiKeys, lockApiKey } from "./api-key.store.ts";
import { newSecret } from "./api-key.ts";
import type {
  ApiKey,
  ApiKeyConnection,
  CreateApiKeyInput,
  RevokeApiKeyInput,
  RotateApiKeyInput,
} from "./api-key.type.ts";
import { insertApiKey, orAll } from "./auth.store.ts";
import { authorize, mayForAll, scopesOfRole } from "./authorization.ts";
import { requireOverMember } from "./over-member.ts";
import { actorOf, type Principal } from "./principal.ts";

const MAX_NAME = 100;
const MAX_PRESETS = 100;
const MAX_OVERLAP_SECONDS = 30 * 24 * 3600;

/** What a key may do, and until when. */
interface Rights {
  readonly scopes: readonly Scope[] | null;
  readonly allowedPresets: readonly string[] | null;
  readonly expiresAt: Date | null;
}

export class ApiKeyService {
  constructor(private readonly db: Database) {}

  /** @returns the key, and the only copy of its secret */
  async create(principal: Principal, input: CreateApiKeyInput): Promise<{ apiKey: ApiKey; secret: string }> {
    const { tenantId } = principal;
    const name = requireText(input.name, { max: MAX_NAME, path: ["input", "name"] });
    const reason = readReason(input.reason);
    const rights = checkRights(principal, {
      scopes: input.scopes ?? principal.scopes,
      allowedPresets: input.allowedPresets ?? principal.allowedPresets,
      expiresAt: input.expiresAt ?? keyEnd(principal),
    });
    const userId =
      input.userId === undefined ? principal.userId : fromGlobalId("User", input.userId, ["input", "userId"]);
    return this.db.transaction(asTenant(tenantId), async (tx) => {
      const path = ["input", "userId"];
      const member = await requireOverMember(tx, principal, { userId, action: "key:manage", path });
      const secret = newSecret();
      // What another member's role grows by later is not for whoever holds this key today.
      const scopes = rights.scopes ?? (userId === principal.userId ? null : scopesOfRole(member.role));
      const row = await insertApiKey(tx, { tenantId, userId, name, secret, ...rights, scopes });
      await audit(tx, principal, { action: "key:create", id: row.id, reason, before: null, after: row });
      return { apiKey: toApiKey(row), secret };
    });
  }

  /** The old key goes on working for `overlapSeconds`. */
  async rotate(principal: Principal, input: RotateApiKeyInput): Promise<{ apiKey: ApiKey; secret: string }> {
    const { overlapSeconds } = input;
    if (!(overlapSeconds >= 0 && overlapSeconds <= MAX_OVERLAP_SECONDS))
      refuse("overlapSeconds", `overlapSeconds is ${overlapSeconds}; 0 to ${MAX_OVERLAP_SECONDS} are possible.`);
    const reason = readReason(input.reason);
    return this.db.transaction(asTenant(principal.tenantId), async (tx) => {
      const old = await this.lock(tx, principal, input);
      if (old.replacedBy !== null) refuse("id", "This key was replaced already. Rotate the key that replaces it.");
      if (await hasEnded(tx, old.id)) refuse("id", "This key has ended. Make a new one with createApiKey.");
      const rights = checkRights(principal, {
        scopes: orAll(old.scopes),
        allowedPresets: orAll(old.allowedPresets),
        expiresAt: input.expiresAt ?? old.expiresAt,
      });
      const { tenantId, userId, name } = old;
      const secret = newSecret();
      const row = await insertApiKey(tx, { tenantId, userId, name, secret, ...rights });
      const ended = await endApiKey(tx, old.id, { inSeconds: overlapSeconds, replacedBy: row.id });
      await audit(tx, principal, { action: "key:rotate", id: old.id, reason, before: old, after: ended });
      await audit(tx, principal, { action: "key:create", id: row.id, reason, before: null, after: row });
      return { apiKey: toApiKey(row), secret };
    });
  }

  async revoke(principal: Principal, input: RevokeApiKeyInput): Promise<ApiKey> {
    const reason = readReason(input.reason);
    return this.db.transaction(asTenant(principal.tenantId), async (tx) => {
      const row = await this.lock(tx, principal, input);
      if (await hasEnded(tx, row.id)) return toApiKey(row);
      const ended = await endApiKey(tx, row.id, { inSeconds: 0 });
      await audit(tx, principal, { action: "key:revoke", id: row.id, reason, before: row, after: ended });
      return toApiKey(ended);
    });
  }

  async list(
    principal: Principal,
    { ofTenant, ...page }: PageArguments & { ofTenant: boolean },
  ): Promise<ApiKeyConnection> {
    authorize(principal, "key:read");
    if (ofTenant && !mayForAll(principal, "key:read")) {
      throw new DomainError("FORBIDDEN", `The role ${principal.role} reads its own keys only. Leave ofTenant out.`, {
        path: ["ofTenant"],
      });
    }
    const request = pageRequest(page);
    const { tenantId } = principal;
    const whose = { tenantId, userId: ofTenant ? undefined : principal.userId };
    const rows = await this.db.transaction(asTenant(tenantId), (tx) => listApiKeys(tx, whose, request));
    return pageOf(rows, request, toApiKey);
  }

  /** The key, if the principal may change it as it is now; another's is as absent as none. */
  private async lock(
    tx: Tx,
    principal: Principal,
    { id: globalId, ifMatch }: { id: string; ifMatch?: string },
  ): Promise<ApiKeyRow> {
    authorize(principal, "key:manage");
    const path = ["input", "id"];
    const row = await lockApiKey(tx, fromGlobalId("ApiKey", globalId, path));
    if (row === undefined || (row.userId !== principal.userId && !mayForAll(principal, "key:manage")))
      throw notFound("ApiKey", globalId, path);
    await requireOverMember(tx, principal, { userId: row.userId, action: "key:manage", path });
    checkEtag(ifMatch, row.version);
    return row;
  }
}

/** Throws when a key would have more than the principal that makes it. */
function checkRights(principal: Principal, { scopes, allowedPresets, expiresAt }: Rights): Rights {
  if (scopes?.length === 0) refuse("scopes", "scopes is empty. Name at least one, or leave it out.");
  if (allowedPresets !== null && !(allowedPresets.length >= 1 && allowedPresets.length <= MAX_PRESETS))
    refuse("allowedPresets", `Name 1 to ${MAX_PRESETS} presets, or leave allowedPresets out.`);
  for (const preset of allowedPresets ?? []) requireText(preset, { max: MAX_NAME, path: ["input", "allowedPresets"] });
  if (expiresAt !== null && expiresAt <= new Date()) refuse("expiresAt", "expiresAt has passed. Give a time to come.");
  requireWithin(scopes, principal.scopes, "scopes");
  requireWithin(allowedPresets, principal.allowedPresets, "allowedPresets");
  const end = keyEnd(principal);
  if (end !== null && (expiresAt === null || expiresAt > end))
    refuse("expiresAt", `A key made with this one ends no later than it does: ${end.toISOString()}.`, "FORBIDDEN");
  return { scopes: unique(scopes), allowedPresets: unique(allowedPresets), expiresAt };
}

/** The end of a session binds no key. */
const keyEnd = ({ apiKeyId, expiresAt }: Principal): Date | null => (apiKeyId === null ? null : expiresAt);

const unique = <T>(list: readonly T[] | null): readonly T[] | null => list && [...new Set(list)];

function requireWithin(wanted: readonly string[] | null, own: readonly string[] | null, field: string): void {
  if (own === null || wanted?.every((one) => own.includes(one))) return;
  refuse(field, `A key has at most what its maker has: ${own.join(", ")}.`, "FORBIDDEN");
}

interface Change {
  readonly action: string;
  readonly id: string;
  readonly reason: string | null;
  readonly before: ApiKeyRow | null;
  readonly after: ApiKeyRow;
}

function audit(tx: Tx, principal: Principal, { action, id, reason, before, after }: Change): Promise<void> {
  return appendAudit(tx, principal.tenantId, {
    actor: actorOf(principal),
    action,
    target: { type: "ApiKey", id },
    reason,
    before: before && apiKeyFacts(before),
    after: apiKeyFacts(after),
  });
}

function refuse(field: string, message: string, code: "INVALID_INPUT" | "FORBIDDEN" = "INVALID_INPUT"): never {
  throw new DomainError(code, message, { path: ["input", field] });
}
