import { createHash } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type AuditContent, appendAudit, checkChain, listAudit, PLATFORM_CHAIN } from "../../src/audit/audit.store.ts";
import { type Access, asAnyone, asDispatcher, asPlatform, asTenant } from "../../src/platform/access.ts";
import type { Database, Tx } from "../../src/platform/database.ts";
import { newId } from "../../src/platform/ids.ts";
import { createTestDatabase } from "../support/test-database.ts";

const CONTENT: AuditContent = {
  actor: { userId: newId(), apiKeyId: newId() },
  action: "limit:set",
  target: { type: "Limit", id: newId() },
  reason: 'more pictures for the fair: "ü" and a \\ too',
  before: { max: "1" },
  after: { max: "2.5" },
};

describe("the audit log", () => {
  let db: Database;
  let close: () => Promise<void>;
  let tenantId: string;

  beforeAll(async () => {
    ({ db, close } = await createTestDatabase());
  });
  afterAll(() => close());
  beforeEach(() => {
    tenantId = newId();
  });

  const append = (chain: string, access: Access = asTenant(chain)) =>
    db.transaction(access, (tx) => appendAudit(tx, chain, CONTENT));
  const list = (chain: string, access: Access = asTenant(chain)) =>
    db.transaction(access, (tx) => listAudit(tx, chain, { afterSeq: 0, limit: 100 }));
  const check = (chain: string) => db.transaction(asPlatform, (tx) => checkChain(tx, chain));
  /** What somebody could do who owns the database. */
  const tamper = (act: (tx: Tx) => Promise<unknown>) =>
    db.transaction(asPlatform, async (tx) => {
      await tx.$executeRaw`select set_config('role', 'none', true)`;
      await act(tx);
    });

  test("keeps what was done, by whom, when and why, numbered without gaps", async () => {
    for (let i = 0; i < 3; i++) await append(tenantId);
    const entries = await list(tenantId);
    expect(entries.map(({ seq }) => seq)).toEqual([1, 2, 3]);
    expect(entries[0]).toMatchObject(CONTENT);
    expect(Math.abs(Date.parse(entries[0]!.at) - Date.now())).toBeLessThan(60_000);
  });

  test("can be checked by anyone who has the entries: each hash covers the one before it", async () => {
    for (let i = 0; i < 3; i++) await append(tenantId);
    let previous = "";
    for (const { hash, text } of await list(tenantId)) {
      expect(hash).toBe(
        createHash("sha256")
          .update(previous + text)
          .digest("hex"),
      );
      previous = hash;
    }
    expect(await check(tenantId)).toEqual({ entries: 3, headHash: previous, brokenAt: null });
    expect(await check(newId())).toEqual({ entries: 0, headHash: "", brokenAt: null });
  });

  test("stays one chain when many append at the same time", async () => {
    await Promise.all(Array.from({ length: 20 }, () => append(tenantId)));
    expect(await check(tenantId)).toMatchObject({ entries: 20, brokenAt: null });
  });

  test.each<[string, number, (tx: Tx) => Promise<unknown>]>([
    [
      "changed",
      2,
      (tx) =>
        tx.$executeRaw`update audit_entry set entry = entry || '{"reason": "another"}' where tenant_id = ${tenantId}::uuid and seq = 2`,
    ],
    ["removed", 3, (tx) => tx.$executeRaw`delete from audit_entry where tenant_id = ${tenantId}::uuid and seq = 2`],
    ["cut off", 3, (tx) => tx.$executeRaw`delete from audit_entry where tenant_id = ${tenantId}::uuid and seq = 3`],
    [
      "changed with its hash",
      3,
      (tx) => tx.$executeRaw`
      update audit_entry e set entry = e.entry || '{"reason": "another"}',
        hash = encode(sha256(convert_to(p.hash || (e.entry || '{"reason": "another"}')::text, 'UTF8')), 'hex')
      from audit_entry p where e.tenant_id = ${tenantId}::uuid and e.seq = 2 and p.tenant_id = e.tenant_id and p.seq = 1`,
    ],
  ])("shows where an entry was %s", async (_, brokenAt, act) => {
    for (let i = 0; i < 3; i++) await append(tenantId);
    await tamper(act);
    expect((await check(tenantId)).brokenAt).toBe(brokenAt);
  });

  test("is written by nobody for another tenant, and by no tenant for the platform", async () => {
    const other = newId();
    for (const chain of [other, PLATFORM_CHAIN])
      await expect(append(chain, asTenant(tenantId))).rejects.toThrow("42501");
    for (const access of [asAnyone, asDispatcher]) await expect(append(tenantId, access)).rejects.toThrow("42501");
    await append(PLATFORM_CHAIN, asPlatform);
    expect(await list(PLATFORM_CHAIN, asTenant(tenantId))).toEqual([]);
  });

  test("cannot be changed by any role that transactions act as", async () => {
    await append(tenantId);
    for (const access of [asTenant(tenantId), asDispatcher, asPlatform]) {
      for (const sql of ["update audit_entry set seq = 9", "delete from audit_entry", "update audit_head set seq = 9"])
        await expect(
          db.transaction(access, (tx) => tx.$executeRawUnsafe(sql)),
          sql,
        ).rejects.toThrow("42501");
    }
  });

  test("is undone with the change that it tells of", async () => {
    const failing = db.transaction(asTenant(tenantId), async (tx) => {
      await appendAudit(tx, tenantId, CONTENT);
      throw new Error("on purpose");
    });
    await expect(failing).rejects.toThrow("on purpose");
    expect(await list(tenantId)).toEqual([]);
  });
});
