/** Setting and reading lists of checks, and reading what they decided. Every change has a reason, and an entry in the audit log. */
import { createHash } from "node:crypto";
import { NIL } from "uuid";
import { type AuditContent, appendAudit, PLATFORM_CHAIN } from "../audit/audit.store.ts";
import { authorize, authorizePlatform, effectiveScopes } from "../auth/authorization.ts";
import { actorOf, type Principal } from "../auth/principal.ts";
import { type Access, asPlatform, asTenant } from "../platform/access.ts";
import type { Database, Tx } from "../platform/database.ts";
import { DomainError } from "../platform/errors.ts";
import { checkEtag } from "../platform/etag.ts";
import { pageOf, pageRequest } from "../platform/page.ts";
import { readReason, requireText } from "../platform/text.ts";
import { readTenant, requireTenant, tenantIdOf } from "../tenancy/tenant-reading.ts";
import { STAGES } from "./check.ts";
import { toPolicy, toVerdict } from "./moderation.mapper.ts";
import { getPolicy, keysOf, lockPolicy, type PolicyKey, savePolicy } from "./policy.store.ts";
import type { Policy, StoredCheck } from "./policy.ts";
import type { ModerationCheckInput, ModerationPolicy, SetModerationPolicyInput } from "./policy.type.ts";
import type { PolicyCache } from "./policy-cache.ts";
import { listVerdicts } from "./verdict.store.ts";
import type { ModerationVerdictConnection, VerdictArguments } from "./verdict.type.ts";
import { wordsOf } from "./word-list.ts";

const MAX_CHECKS = 20;
const MAX_NAME = 64;
const MAX_WORDS = 10_000;
const MAX_WORD = 200;
const TENANT_PATH = ["input", "tenantId"];

export interface PolicyServices {
  readonly db: Database;
  readonly policies: PolicyCache;
  /** Whether the operator has set up a service that can be asked. */
  readonly hasChecker: boolean;
}

export class PolicyService {
  constructor(private readonly services: PolicyServices) {}

  /** The lists that concern a tenant, in the order in which they are asked; also those that are empty. */
  async list(principal: Principal, globalId: string | undefined): Promise<readonly ModerationPolicy[]> {
    const seesAll = principal.isPlatformAdmin && effectiveScopes(principal).includes("PLATFORM_ADMIN");
    const reading = { action: "moderation:read", tenantId: globalId, path: ["tenantId"] } as const;
    return readTenant(this.services.db, principal, reading, async (tx, tenantId) => {
      const policies: ModerationPolicy[] = [];
      for (const key of keysOf(tenantId))
        policies.push(toPolicy(await getPolicy(tx, key), { showsWords: seesAll || key.level === "TENANT" }));
      return policies;
    });
  }

  /** Sets a whole list. It counts for what is asked for from now on; in other processes two seconds later. */
  async set(principal: Principal, input: SetModerationPolicyInput): Promise<ModerationPolicy> {
    const { key, access } = keyOf(principal, input);
    const reason = readReason(input.reason);
    const checks = readChecks(input.checks);
    this.requireChecker(checks);
    const policy = await this.services.db.transaction(access, async (tx) => {
      if (key.level === "ASSIGNED")
        await requireTenant(tx, key.tenantId, { globalId: input.tenantId, path: TENANT_PATH });
      const before = await lockPolicy(tx, key);
      checkEtag(input.ifMatch, before.version);
      const after = await savePolicy(tx, key, checks);
      const target = { type: "ModerationPolicy", id: key.tenantId };
      const change = { before: factsOf(before), after: factsOf(after) };
      await audit(tx, key, { actor: actorOf(principal), action: "moderation:set", target, reason, ...change });
      return after;
    });
    this.services.policies.expire();
    return toPolicy(policy, { showsWords: true });
  }

  private requireChecker(checks: readonly StoredCheck[]): void {
    const index = checks.findIndex(({ kind }) => kind === "HTTP");
    if (index === -1 || this.services.hasChecker) return;
    throw new DomainError(
      "INVALID_INPUT",
      "This server has no service to ask. Leave the check out, or ask the operator to set MODERATION_URL.",
      { path: ["input", "checks", String(index), "kind"] },
    );
  }

  /** Of the tenant, newest first. */
  async listVerdicts(
    principal: Principal,
    { decisions = [], ...page }: VerdictArguments,
  ): Promise<ModerationVerdictConnection> {
    authorize(principal, "moderation:read");
    const { tenantId } = principal;
    const request = pageRequest(page);
    const rows = await this.services.db.transaction(asTenant(tenantId), (tx) =>
      listVerdicts(tx, { tenantId, decisions }, request),
    );
    return pageOf(rows, request, toVerdict);
  }
}

/** The list that is meant, if the caller may set it. */
function keyOf(
  principal: Principal,
  { level, tenantId: globalId }: SetModerationPolicyInput,
): { key: PolicyKey; access: Access } {
  const path = TENANT_PATH;
  if (level !== "ASSIGNED" && globalId !== undefined)
    throw new DomainError("INVALID_INPUT", "Only the level ASSIGNED needs a tenant: TENANT is one's own.", { path });
  if (level === "TENANT") {
    authorize(principal, "moderation:set");
    return { key: { tenantId: principal.tenantId, level }, access: asTenant(principal.tenantId) };
  }
  authorizePlatform(principal);
  if (level === "PLATFORM") return { key: { tenantId: NIL, level }, access: asPlatform };
  return { key: { tenantId: tenantIdOf(principal, globalId, path), level }, access: asPlatform };
}

function readChecks(inputs: readonly ModerationCheckInput[]): readonly StoredCheck[] {
  const path = ["input", "checks"];
  if (inputs.length > MAX_CHECKS)
    throw new DomainError("INVALID_INPUT", `A list has up to ${MAX_CHECKS} checks; these are ${inputs.length}.`, {
      path,
    });
  const checks = inputs.map((input, index) => readCheck(input, [...path, String(index)]));
  for (const [index, { name }] of checks.entries())
    if (checks.findIndex((other) => other.name === name) !== index)
      throw new DomainError("INVALID_INPUT", `Two checks are called "${name}". Give each a name of its own.`, {
        path: [...path, String(index), "name"],
      });
  const wordCount = checks.reduce((sum, check) => sum + (check.kind === "WORDS" ? check.words.length : 0), 0);
  if (wordCount > MAX_WORDS)
    throw new DomainError(
      "INVALID_INPUT",
      `All checks of a list have up to ${MAX_WORDS} words together, not ${wordCount}.`,
      { path },
    );
  return checks;
}

function readCheck(input: ModerationCheckInput, path: readonly string[]): StoredCheck {
  const { kind, mode, words, stages, whenUnavailable } = input;
  const name = requireText(input.name, { max: MAX_NAME, path: [...path, "name"] });
  const isOther = kind === "WORDS" ? (stages ?? whenUnavailable) : (words ?? input.category);
  if (isOther !== undefined)
    throw new DomainError(
      "INVALID_INPUT",
      "A check of the kind WORDS has words and a category; one of the kind HTTP has stages and whenUnavailable.",
      { path },
    );
  if (kind === "HTTP") return { kind, name, mode, ...readHttp(input, path) };
  const category =
    input.category === undefined ? null : requireText(input.category, { max: MAX_NAME, path: [...path, "category"] });
  return { kind, name, mode, category, words: readWords(words ?? [], [...path, "words"]) };
}

function readHttp(
  { stages = STAGES, whenUnavailable = "REFUSE" }: ModerationCheckInput,
  path: readonly string[],
): Pick<Extract<StoredCheck, { kind: "HTTP" }>, "stages" | "whenUnavailable"> {
  if (stages.length === 0)
    throw new DomainError("INVALID_INPUT", `Name at least one stage: ${STAGES.join(", ")}.`, {
      path: [...path, "stages"],
    });
  return { stages: STAGES.filter((stage) => stages.includes(stage)), whenUnavailable };
}

function readWords(words: readonly string[], path: readonly string[]): string[] {
  if (words.length < 1 || words.length > MAX_WORDS)
    throw new DomainError("INVALID_INPUT", `A check has 1 to ${MAX_WORDS} words; these are ${words.length}.`, { path });
  return words.map((word, index) => readWord(word, [...path, String(index)]));
}

function readWord(given: string, path: readonly string[]): string {
  const word = requireText(given, { max: MAX_WORD, path });
  if (wordsOf(word).length > 0) return word;
  throw new DomainError("INVALID_INPUT", "This entry has no letters or digits: nothing could be found with it.", {
    path,
  });
}

/** For the audit log: which words they are, their hash tells. */
const factsOf = ({ level, checks }: Policy) => ({
  level,
  checks: checks.map((check) => {
    if (check.kind === "HTTP") return check;
    const { words, ...facts } = check;
    return { ...facts, wordCount: words.length, wordsSha256: sha256(words.join("\n")) };
  }),
});

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

/** In the chain of the tenant; what an administrator of the platform does, in the platform's, too. */
async function audit(tx: Tx, { tenantId, level }: PolicyKey, content: AuditContent): Promise<void> {
  if (level !== "PLATFORM") await appendAudit(tx, tenantId, content);
  if (level !== "TENANT") await appendAudit(tx, PLATFORM_CHAIN, content);
}
