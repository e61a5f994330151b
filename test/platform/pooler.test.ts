import { expect, test } from "vitest";
import { asTenant } from "../../src/platform/access.ts";
import { Database } from "../../src/platform/database.ts";
import { openPostgresDatabase } from "../../src/platform/database-postgres.ts";
import { newId } from "../../src/platform/ids.ts";
import { createLogger } from "../../src/platform/logger.ts";
import { databaseConformance } from "../conformance/database.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import { hasPgBouncer, keepsPrepared, startPgBouncer } from "../support/pgbouncer.ts";
import { hasPostgres, startPostgres } from "../support/postgres-server.ts";
import { createTestApp } from "../support/test-app.ts";

/** Of the server, shared by all who come through the pooler. */
const CONNECTIONS = 3;

async function startPooled() {
  const server = await startPostgres({ fsync: "off" });
  const directUrl = await server.createDatabase();
  const pooler = await startPgBouncer(directUrl, CONNECTIONS);
  const stop = async (): Promise<void> => {
    await pooler.stop();
    server.stop();
  };
  return { url: pooler.url, directUrl, stop };
}

async function openPooled(prepares: boolean) {
  const { url, directUrl, stop } = await startPooled();
  const engine = await openPostgresDatabase({ url, directUrl, prepares, logger: createLogger("silent") });
  const db = await Database.open(engine, "prisma/migrations");
  return { db, close: () => db.close().finally(stop) };
}

if (!hasPostgres || !hasPgBouncer) {
  test.skip("a pooler: PostgreSQL or PgBouncer is not on this machine", () => {});
} else {
  if (!keepsPrepared) test.skip("a pooler with prepared statements: PgBouncer is older than 1.21", () => {});
  for (const prepares of keepsPrepared ? [false, true] : [false]) {
    const how = prepares ? "with prepared statements" : "without prepared statements";
    databaseConformance(`a PostgreSQL server behind PgBouncer ${how}`, () => openPooled(prepares));

    test(`through a pooler ${how}, whose connection it is ends with the transaction`, async () => {
      const { db, close } = await openPooled(prepares);
      const tenants = Array.from({ length: 10 }, () => newId());
      const seen = await Promise.all(
        Array.from({ length: 100 }, async (_, i) => {
          const access = asTenant(tenants[i % tenants.length]!);
          const read = async (of: Pick<Database, "singly">) =>
            (
              await of.singly(access).$queryRaw<{ who: string }[]>`
              select current_user::text || ' ' || current_setting('app.tenant_ids') as who`
            )[0]?.who;
          const inside = db.transaction(access, async (tx) => {
            const [row] = await tx.$queryRaw<{ who: string }[]>`
              select current_user::text || ' ' || current_setting('app.tenant_ids') as who`;
            return row?.who;
          });
          return [await read(db), await inside, `atelier_api ${tenants[i % tenants.length]}`];
        }),
      );
      for (const [alone, inside, expected] of seen) expect([alone, inside]).toEqual([expected, expected]);
      await close();
    });

    test(`a server draws behind a pooler ${how}`, async () => {
      const { url, directUrl, stop } = await startPooled();
      const worker = new FakeWorker();
      const settings = {
        DATABASE_URL: url,
        DATABASE_DIRECT_URL: directUrl,
        DATABASE_PREPARED: prepares ? "on" : "off",
      };
      const app = await createTestApp({ workers: worker }, settings);
      const id = await app.member.create({ prompt: "a red circle" });
      await (await worker.nextCall()).started().succeed();
      expect((await app.member.finished(id)).state).toBe("SUCCEEDED");
      await app.stop();
      await stop();
    });
  }
}
