import pg from "pg";
import { expect, onTestFinished, test } from "vitest";
import { Database } from "../../src/platform/database.ts";
import { openPostgresDatabase } from "../../src/platform/database-postgres.ts";
import { createLogger } from "../../src/platform/logger.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import { hasPostgres, startPostgres } from "../support/postgres-server.ts";
import { createTestApp } from "../support/test-app.ts";

const MIGRATIONS = "prisma/migrations";

if (!hasPostgres) test.skip("logins of a PostgreSQL server: there is none on this machine", () => {});
else {
  test("a server draws with a login that owns nothing, once the owner has brought the database up to date", async () => {
    const server = await startPostgres({ fsync: "off" });
    onTestFinished(() => server.stop());
    const ofOwner = await server.createDatabase();
    const ofServer = withLogin(ofOwner, "atelier_server", "secret");
    const ask = async (url: string, sql: string): Promise<readonly unknown[]> => {
      const client = new pg.Client({ connectionString: url });
      await client.connect();
      return client
        .query(sql)
        .then(({ rows }) => rows)
        .finally(() => client.end());
    };
    const open = (options: { url: string; migrationUrl?: string }) =>
      openPostgresDatabase({ ...options, logger: createLogger("silent") }).then((engine) =>
        Database.open(engine, MIGRATIONS),
      );

    const ofNobody = withLogin(ofOwner, "nobody", "");
    await expect(open({ url: ofServer })).rejects.toThrow(/The database of DATABASE_URL cannot be reached: /);
    await expect(open({ url: ofOwner, migrationUrl: ofNobody })).rejects.toThrow(/of DATABASE_MIGRATION_URL cannot/);
    await ask(ofOwner, "create role atelier_server login noinherit password 'secret'");
    await expect(open({ url: ofServer })).rejects.toThrow(
      "Run dist/src/migrate.js with DATABASE_MIGRATION_URL, the address with the login of its owner.",
    );
    await (await open({ url: ofServer, migrationUrl: ofOwner })).close();

    const worker = new FakeWorker();
    const app = await createTestApp({ workers: worker }, { DATABASE_URL: ofServer });
    const id = await app.member.create({ prompt: "a red circle" });
    await (await worker.nextCall()).started().succeed();
    expect((await app.member.finished(id)).state).toBe("SUCCEEDED");
    await app.stop();

    for (const sql of [
      "create table mine (id int)",
      "alter table generation add column mine int",
      "drop table milestone",
      "create role mine",
      "select * from generation",
      "delete from _prisma_migrations",
    ])
      await expect(ask(ofServer, sql), sql).rejects.toThrow(/permission denied|must be owner/);
    await ask(ofOwner, "delete from _prisma_migrations where migration_name = '0001_init'");
    await expect(open({ url: ofServer })).rejects.toThrow(/is not up to date/);
  });
}

function withLogin(url: string, user: string, password: string): string {
  return Object.assign(new URL(url), { username: user, password }).href;
}
