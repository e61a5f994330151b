import pg from "pg";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { asPlatform } from "../../src/platform/access.ts";
import { Database, type Tx } from "../../src/platform/database.ts";
import { openPostgresDatabase } from "../../src/platform/database-postgres.ts";
import { createLogger } from "../../src/platform/logger.ts";
import { hasPostgres, startPostgres } from "../support/postgres-server.ts";

describe("what PostgreSQL ends because it takes too long", () => {
  if (!hasPostgres) {
    test.skip("PostgreSQL is not on this machine", () => {});
    return;
  }

  test("is told callers as what may be repeated, however it was asked, and operators once", async () => {
    const postgres = await startPostgres({ fsync: "off" });
    const logger = createLogger("silent");
    const said = vi.spyOn(logger, "error");
    const url = await postgres.createDatabase();
    const engine = await openPostgresDatabase({ url, logger });
    const db = await Database.open(engine, "prisma/migrations", { logger });
    onTestFinished(async () => {
      await db.close();
      postgres.stop();
    });
    const soon = (ask: (tx: Tx) => Promise<unknown>) =>
      db.transaction(asPlatform, async (tx) => {
        await tx.$executeRaw`set local statement_timeout = 50`;
        await ask(tx);
      });
    const single = db.singly(asPlatform);
    const asked = {
      byStatement: () => soon((tx) => tx.$queryRaw`select 1 as done from pg_sleep(60)`),
      byModel: async () => {
        const other = new pg.Client({ connectionString: url });
        await other.connect();
        await other.query("begin; lock table tenant");
        await soon((tx) => tx.tenant.count()).finally(() => other.end());
      },
      singly: async () => {
        await single.$queryRaw`select set_config('statement_timeout', '50', false)`;
        await single.$queryRaw`select 1 as done from pg_sleep(60)`;
      },
    };
    for (const ask of Object.values(asked))
      await expect(ask()).rejects.toMatchObject({
        code: "UNAVAILABLE",
        message: expect.stringContaining("too slow"),
        details: { retryable: true, retryAfterMs: 2000 },
      });
    expect(said.mock.calls).toEqual([[expect.anything(), "the database was too slow: what took too long was ended"]]);
  });
});
