import { NIL } from "uuid";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { appendAudit } from "../../src/audit/audit.store.ts";
import { hashSecret, newSecret } from "../../src/auth/api-key.ts";
import { findPrincipal, insertApiKey } from "../../src/auth/auth.store.ts";
import { type Access, asAnyone, asDispatcher, asPlatform, asPoll, asTenant } from "../../src/platform/access.ts";
import type { Database } from "../../src/platform/database.ts";
import { newId } from "../../src/platform/ids.ts";
import { QuotaService } from "../../src/quota/quota.service.ts";
import { insertMember, insertTenant } from "../../src/tenancy/tenancy.store.ts";
import { TENANT_TABLES } from "../support/tenant-rows.ts";
import { databasesHere } from "../support/test-database.ts";

/** Tables without rows of a tenant. */
const SHARED = ["_prisma_migrations", "learned_duration", "pool", "pool_lease", "worker"];
/** Insufficient privilege, also of a row that a policy refuses. */
const DENIED = /42501|denied/;

interface TestTenant {
  readonly id: string;
  readonly secret: string;
}

describe.each(databasesHere())("row-level security of $name", ({ create }) => {
  let db: Database;
  let close: () => Promise<void>;
  let tables: readonly string[];
  let ours: TestTenant;
  let theirs: TestTenant;

  beforeAll(async () => {
    ({ db, close } = await create());
    ours = await insertTenantWithEverything(db);
    theirs = await insertTenantWithEverything(db);
    tables = (await query<{ name: string }>(asPlatform, TENANT_TABLES)).map(({ name }) => name);
  });
  afterAll(() => close());

  const query = <T>(access: Access, sql: string, ...values: unknown[]): Promise<T[]> =>
    db.transaction(access, (tx) => tx.$queryRawUnsafe<T[]>(sql, ...values));
  const ownersOf = async (access: Access, table: string): Promise<readonly string[]> => {
    const rows = await query<{ row: Record<string, string> }>(access, `select to_jsonb(t) as row from "${table}" t`);
    return rows.map(({ row }) => (table === "tenant" ? row["id"] : row["tenant_id"]) ?? "");
  };

  test("is forced on every table that has rows of a tenant", async () => {
    const unforced = await query<{ name: string }>(
      asPlatform,
      `select relname as name from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')
       and not (relrowsecurity and relforcerowsecurity) order by relname`,
    );
    expect(unforced.map(({ name }) => name)).toEqual(SHARED);
    expect(tables).toContain("milestone");
  });

  test("shows a tenant its own rows of every table, and no others", async () => {
    for (const table of tables) {
      expect(new Set(await ownersOf(asPlatform, table)), table).toEqual(new Set([ours.id, theirs.id]));
      expect(new Set(await ownersOf(asTenant(ours.id), table)), table).toEqual(new Set([ours.id]));
    }
    expect(await query(asTenant(ours.id), "select id from user_account")).toHaveLength(1);
  });

  test("shows nothing to a transaction without a tenant", async () => {
    for (const table of [...tables, "user_account"]) expect(await ownersOf(asAnyone, table), table).toEqual([]);
  });

  test("refuses to write a row of another tenant, in every table", async () => {
    for (const table of tables) {
      const where = table === "tenant" ? "id" : "tenant_id";
      const [found] = await query<{ row: object }>(
        asPlatform,
        `select to_jsonb(t) as row from "${table}" t where ${where} = $1::uuid limit 1`,
        theirs.id,
      );
      const [written] = await query<{ columns: string }>(
        asPlatform,
        `select string_agg(quote_ident(attname), ', ') as columns from pg_attribute
        where attrelid = '"${table}"'::regclass and attnum > 0 and not attisdropped and attgenerated = ''`,
      );
      const copy = `insert into "${table}" (${written?.columns}) select ${written?.columns} from jsonb_populate_record(null::"${table}", $1::jsonb)`;
      const inserted = query(asTenant(ours.id), copy, JSON.stringify(found?.row));
      await expect(inserted, table).rejects.toThrow(DENIED);
    }
  });

  test("changes and deletes nothing of another tenant", async () => {
    const count = (sql: string) => db.transaction(asTenant(ours.id), (tx) => tx.$executeRawUnsafe(sql, theirs.id));
    expect(await count("update generation set answer = 'x' where tenant_id = $1::uuid")).toBe(0);
    expect(await count("update limits set used = 0 where tenant_id = $1::uuid")).toBe(0);
    expect(await count("delete from batch where tenant_id = $1::uuid")).toBe(0);
    expect(await count("update api_key set revoked_at = now() where tenant_id = $1::uuid")).toBe(0);
    expect(await count("update membership set role = 'VIEWER' where tenant_id = $1::uuid")).toBe(0);
    expect(await count("delete from membership where tenant_id = $1::uuid")).toBe(0);
    const moved = count("update generation set tenant_id = $1::uuid");
    await expect(moved).rejects.toThrow(DENIED);
  });

  test("keeps keys, members and people from dispatchers", async () => {
    for (const table of ["api_key", "user_account", "membership", "tenant"])
      await expect(query(asDispatcher, `select * from "${table}"`), table).rejects.toThrow(DENIED);
    expect(new Set(await ownersOf(asDispatcher, "generation"))).toEqual(new Set([ours.id, theirs.id]));
  });

  test("lets the poll see how far generations of the tenants it names are, and nothing else", async () => {
    const rows = await query<{ seq: number }>(asPoll([ours.id]), "select milestone_seq as seq from generation");
    expect(rows).toEqual([{ seq: 1 }]);
    expect(await query(asPoll([ours.id, theirs.id]), "select id from generation")).toHaveLength(2);
    await expect(query(asPoll([ours.id]), "select settings from generation")).rejects.toThrow(DENIED);
    await expect(query(asPoll([ours.id]), "select seq from milestone")).rejects.toThrow(DENIED);
  });

  test("finds the principal of a key by its secret alone, until it is revoked", async () => {
    const find = (secret: string) => db.transaction(asAnyone, (tx) => findPrincipal(tx, secret));
    expect(await find(theirs.secret)).toMatchObject({ tenantId: theirs.id, role: "MEMBER", isPlatformAdmin: false });
    expect(await find(newSecret())).toBeUndefined();
    const revoke = "update api_key set revoked_at = now() where hash = $1";
    await db.transaction(asPlatform, (tx) => tx.$executeRawUnsafe(revoke, hashSecret(theirs.secret)));
    expect(await find(theirs.secret)).toBeUndefined();
  });

  test("shows identities of people to nobody, and answers questions across tenants to the API only", async () => {
    for (const access of [asTenant(ours.id), asAnyone, asDispatcher, asPoll([ours.id])])
      await expect(query(access, "select * from identity")).rejects.toThrow(DENIED);
    const doors = [
      "auth_lookup('hash')",
      "auth_sign_in('issuer', 'subject', null)",
      "auth_recheck('[]')",
      `auth_person('${newId()}', 'somebody', null)`,
    ];
    for (const door of doors) {
      for (const access of [asDispatcher, asPoll([ours.id])])
        await expect(query(access, `select * from ${door}`), door).rejects.toThrow(DENIED);
      await query(asAnyone, `select * from ${door}`);
    }
  });

  test("lets tenants read the checks of all tenants and those that are assigned to them, and set their own only", async () => {
    const set = (access: Access, level: string, tenantId: string) =>
      query(
        access,
        `insert into moderation_policy (tenant_id, level, checks) values ($1::uuid, '${level}', '[]')`,
        tenantId,
      );
    await set(asPlatform, "ASSIGNED", ours.id);
    await set(asPlatform, "PLATFORM", NIL);
    const levels = "select level from moderation_policy order by level";
    const seen = async (access: Access) => (await query<{ level: string }>(access, levels)).map(({ level }) => level);
    expect(await seen(asTenant(ours.id))).toEqual(["PLATFORM", "ASSIGNED", "TENANT"]);
    expect(await seen(asTenant(theirs.id))).toEqual(["PLATFORM", "TENANT"]);
    expect(await seen(asAnyone)).toEqual([]);
    for (const level of ["ASSIGNED", "PLATFORM"])
      await expect(set(asTenant(theirs.id), level, theirs.id), level).rejects.toThrow(DENIED);
    const change = "update moderation_policy set checks = '[1]' where level <> 'TENANT' returning level";
    expect(await query(asTenant(ours.id), change)).toEqual([]);
    await expect(query(asTenant(ours.id), "update moderation_policy set level = 'ASSIGNED'")).rejects.toThrow(DENIED);
    await expect(query(asTenant(ours.id), "delete from moderation_policy")).rejects.toThrow(DENIED);
    await expect(query(asDispatcher, "select checks from moderation_policy")).rejects.toThrow(DENIED);
  });

  test("lets nobody change the ledger", async () => {
    for (const access of [asTenant(ours.id), asDispatcher, asPlatform]) {
      await expect(query(access, "update ledger_entry set credits = 1")).rejects.toThrow(DENIED);
      await expect(query(access, "delete from ledger_entry")).rejects.toThrow(DENIED);
    }
  });
});

/** A tenant with a row in every table. */
function insertTenantWithEverything(db: Database): Promise<TestTenant> {
  return db.transaction(asPlatform, async (tx) => {
    const secret = newSecret();
    const tenantId = await insertTenant(tx, "tenant");
    const userId = await insertMember(tx, { tenantId, role: "MEMBER", name: "member", isPlatformAdmin: false });
    await insertApiKey(tx, { tenantId, userId, name: "key", secret });
    await new QuotaService().grant(tx, tenantId, { credits: 10n, reason: "test" });
    const made = { tenantId, userId, apiKeyId: newId(), pool: "local", preset: "tiny", settings: {} };
    const id = newId();
    await tx.generation.create({
      data: {
        ...made,
        id,
        task: "TEXT_TO_IMAGE",
        priority: "STANDARD",
        totalSteps: 1,
        milestoneSeq: 1,
        milestones: { create: { tenantId, seq: 1, kind: "QUEUED", attempt: 0, state: "QUEUED" } },
        attempts: { create: { tenantId, number: 1, leaseId: newId(), worker: "worker" } },
        reservation: { create: { tenantId, userId, id: newId(), credits: 1n, expiresAt: new Date() } },
      },
    });
    const image = { index: 0, storageKey: id, width: 1, height: 1, mimeType: "image/png", sizeBytes: 1, sha256: "" };
    await tx.image.create({ data: { ...image, id: newId(), tenantId, generationId: id } });
    const items = { create: { tenantId, index: 0, customId: "a", settings: {}, credits: 1n } };
    await tx.batch.create({ data: { ...made, id: newId(), total: 1, credits: 1n, items } });
    const used = { day: new Date(), ended: 1, succeeded: 1, credits: 1n, pixels: 1n };
    await tx.usageDay.create({ data: { ...used, tenantId, userId, apiKeyId: newId(), task: "TEXT_TO_IMAGE" } });
    const use = { tenantId, userId, field: "createGeneration", key: "key", bodyHash: "", createdId: id };
    await tx.idempotencyRecord.create({ data: use });
    await tx.upload.create({ data: { id: newId(), tenantId, userId, purpose: "BATCH", expiresAt: new Date() } });
    await tx.fairShareTag.create({ data: { pool: "local", tenantId, userId, tag: 0 } });
    const served = { poolMs: 1, entitledMs: 1, receivedMs: 1, lentMs: 0, borrowedMs: 0, waits: [] };
    await tx.fairShareMinute.create({ data: { ...served, pool: "local", tenantId, minute: new Date() } });
    await tx.moderationPolicy.create({ data: { tenantId, level: "TENANT", checks: [] } });
    const judged = {
      tenantId,
      userId,
      generationId: id,
      stage: "PROMPT",
      level: "TENANT",
      checkName: "words",
    } as const;
    await tx.moderationVerdict.create({ data: { ...judged, id: newId(), decision: "ALLOWED" } });
    const acted = { actor: { userId, apiKeyId: null }, action: "test", target: { type: "Tenant", id: tenantId } };
    await appendAudit(tx, tenantId, { ...acted, reason: null, before: null, after: null });
    return { id: tenantId, secret };
  });
}
