import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Access, asDispatcher, asPlatform } from "../../src/platform/access.ts";
import type { Database } from "../../src/platform/database.ts";
import { newId } from "../../src/platform/ids.ts";

export interface DatabaseUnderTest {
  readonly db: Database;
  close(): Promise<void>;
}

/** What every database must do. */
export function databaseConformance(name: string, create: () => Promise<DatabaseUnderTest>): void {
  describe(`${name} is a database`, () => {
    let subject: DatabaseUnderTest;
    let db: Database;

    beforeAll(async () => {
      subject = await create();
      db = subject.db;
    });
    afterAll(() => subject.close());

    const insert = (tenantName: string): Promise<string> =>
      db.transaction(
        asPlatform,
        async (tx) => (await tx.tenant.create({ data: { id: newId(), name: tenantName } })).id,
      );
    const exists = (id: string): Promise<boolean> =>
      db.transaction(asPlatform, async (tx) => (await tx.tenant.count({ where: { id } })) === 1);

    test("keeps what a transaction did when it resolves", async () => {
      expect(await exists(await insert("kept"))).toBe(true);
    });

    test("undoes what a transaction did when it throws", async () => {
      const id = newId();
      const failing = db.transaction(asPlatform, async (tx) => {
        await tx.tenant.create({ data: { id, name: "undone" } });
        throw new Error("on purpose");
      });
      await expect(failing).rejects.toThrow("on purpose");
      expect(await exists(id)).toBe(false);
    });

    test("runs transactions that start at the same time, each whole", async () => {
      const id = await insert("0");
      const add = (): Promise<void> =>
        db.transaction(asPlatform, async (tx) => {
          const [row] = await tx.$queryRaw<
            { name: string }[]
          >`select name from tenant where id = ${id}::uuid for update`;
          await tx.tenant.update({ where: { id }, data: { name: String(Number(row!.name) + 1) } });
        });
      await Promise.all(Array.from({ length: 20 }, add));
      expect((await db.transaction(asPlatform, (tx) => tx.tenant.findUniqueOrThrow({ where: { id } }))).name).toBe(
        "20",
      );
    });

    test("refuses a transaction inside another one, which could never end", async () => {
      await expect(db.transaction(asPlatform, () => db.transaction(asPlatform, async () => 1))).rejects.toThrow(
        "inside another one",
      );
      expect(await db.transaction(asPlatform, async () => 1)).toBe(1);
    });

    test("runs single statements as whoever asks, whole or not at all, and none inside a transaction", async () => {
      const id = await insert("single");
      const rename = (access: Access, name: string) =>
        db.singly(access).$queryRaw<{ name: string }[]>`
          update tenant set name = ${name}, share_weight = 1 / case ${name} when 'zero' then 0 else 1 end
          where id = ${id}::uuid returning name`;
      expect(await Promise.all(["a", "b", "c"].map((name) => rename(asPlatform, name)))).toEqual([
        [{ name: "a" }],
        [{ name: "b" }],
        [{ name: "c" }],
      ]);
      await expect(rename(asPlatform, "zero")).rejects.toThrow("division by zero");
      await expect(rename(asDispatcher, "d")).rejects.toThrow("denied");
      await expect(db.transaction(asPlatform, () => rename(asPlatform, "e"))).rejects.toThrow("inside a transaction");
      const [row] = await db.singly(asPlatform).$queryRaw<unknown[]>`
        select name, current_user::text as who, ${[1, 2]}::int[] as numbers, 1.5::float8 as half, null as nothing, created_at from tenant where id = ${id}::uuid`;
      expect(row).toEqual({
        name: expect.stringMatching(/^[abc]$/),
        who: "atelier_platform",
        numbers: [1, 2],
        half: 1.5,
        nothing: null,
        created_at: expect.any(Date),
      });
    });

    test("never lets more be used and held than a limit allows", async () => {
      const tenantId = await insert("limited");
      await db.transaction(asPlatform, (tx) =>
        tx.limit.create({ data: { tenantId, level: "TENANT", subjectId: tenantId, kind: "CREDITS", max: 10n } }),
      );
      const overspend = db.transaction(asPlatform, (tx) =>
        tx.limit.updateMany({ where: { tenantId }, data: { held: 6n, used: 5n } }),
      );
      await expect(overspend).rejects.toThrow("limits_within_max");
    });

    test("does not change or delete ledger entries", async () => {
      const tenantId = await insert("audited");
      const entry = { id: newId(), tenantId, kind: "GRANT", credits: 1n, held: 0n, reason: "test" } as const;
      await db.transaction(asPlatform, (tx) => tx.ledgerEntry.create({ data: entry }));
      await expect(
        db.transaction(asPlatform, (tx) => tx.ledgerEntry.updateMany({ data: { credits: 2n } })),
      ).rejects.toThrow("denied");
      await expect(db.transaction(asPlatform, (tx) => tx.ledgerEntry.deleteMany())).rejects.toThrow("denied");
    });

    test("rings the doorbell for those who listen, once for many rings in one go", async () => {
      let rings = 0;
      const rung = new Promise<void>((resolve) => {
        db.doorbell.onRing(() => {
          rings++;
          resolve();
        });
      });
      for (let i = 0; i < 10; i++) db.doorbell.ring();
      await rung;
      expect(rings).toBe(1);
    });
  });
}
