import { describe, expect, onTestFinished, test } from "vitest";
import { Prisma } from "../../src/generated/prisma/client.ts";
import { asPlatform } from "../../src/platform/access.ts";
import { Database } from "../../src/platform/database.ts";
import { openPostgresDatabase } from "../../src/platform/database-postgres.ts";
import { createLogger } from "../../src/platform/logger.ts";
import { Link } from "../support/link.ts";
import { hasPostgres, startPostgres } from "../support/postgres-server.ts";
import { until } from "../support/until.ts";

describe("when the network forgets connections to PostgreSQL, and says so to nobody", () => {
  if (!hasPostgres) {
    test.skip("PostgreSQL is not on this machine", () => {});
    return;
  }

  /** A database behind a link, and the same one from elsewhere. */
  async function setup(): Promise<{ link: Link; db: Database; elsewhere: Database }> {
    const postgres = await startPostgres({ fsync: "off" });
    const url = await postgres.createDatabase();
    const link = await Link.start(url);
    const logger = createLogger("silent");
    const open = async (way: string) =>
      Database.open(await openPostgresDatabase({ url: way, silenceMs: 400, logger }), "prisma/migrations");
    const [db, elsewhere] = [await open(link.by(url)), await open(url)];
    onTestFinished(async () => {
      await Promise.all([db.close(), elsewhere.close()]);
      await link.stop();
      postgres.stop();
    });
    return { link, db, elsewhere };
  }

  test("what was asked on them fails, and is answered when it is asked again", async () => {
    const { link, db } = await setup();
    const asking = {
      inTransaction: () => db.transaction(asPlatform, (tx) => tx.tenant.count()),
      singly: async () => (await db.singly(asPlatform).$queryRaw<unknown[]>`select 1`).length - 1,
    };
    for (const ask of Object.values(asking)) {
      expect(await ask()).toBe(0);
      link.silence("answers");
      const unanswered = ask();
      link.restore("forgets");
      await expect(unanswered).rejects.toThrow();
      expect(await ask()).toBe(0);
    }
  });

  test("what was asked ends on the server after a while, however it was asked", async () => {
    const { db } = await setup();
    const limit = Prisma.sql`select current_setting('statement_timeout') as statement`;
    expect(await db.transaction(asPlatform, (tx) => tx.$queryRaw(limit))).toEqual([{ statement: "15s" }]);
    expect(await db.singly(asPlatform).$queryRaw(limit)).toEqual([{ statement: "15s" }]);
  });

  test("the doorbell is heard again", async () => {
    const { link, db, elsewhere } = await setup();
    let rings = 0;
    db.doorbell.onRing(() => rings++);
    const heard = (more: number) =>
      until(() => {
        elsewhere.doorbell.ring();
        expect(rings).toBeGreaterThan(more);
      });
    await heard(0);
    link.silence("answers");
    link.restore("forgets");
    await heard(rings);
  });
});
