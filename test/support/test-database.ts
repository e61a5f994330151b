import { rmSync } from "node:fs";
import { inject, test } from "vitest";
import { Database } from "../../src/platform/database.ts";
import { openEmbeddedDatabase } from "../../src/platform/database-embedded.ts";
import { openPostgresDatabase } from "../../src/platform/database-postgres.ts";
import { lockFolder } from "../../src/platform/folder-lock.ts";
import { createLogger } from "../../src/platform/logger.ts";
import { hasPostgres, startPostgres } from "./postgres-server.ts";
import { copyTemplate } from "./template-data.ts";

export interface TestDatabase {
  readonly db: Database;
  close(): Promise<void>;
}

/** A migrated, empty database of one's own. */
export async function createTestDatabase(): Promise<TestDatabase> {
  const folder = copyTemplate(inject("templateData"));
  const db = await Database.open(await openEmbeddedDatabase(lockFolder(folder)), "prisma/migrations");
  return {
    db,
    async close() {
      await db.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** A connection to a database of a server, which is migrated if need be. */
async function openTestPostgres(url: string): Promise<TestDatabase> {
  const engine = await openPostgresDatabase({ url, logger: createLogger("silent") });
  const db = await Database.open(engine, "prisma/migrations");
  return { db, close: () => db.close() };
}

/** A migrated, empty database of a server of one's own. */
async function createTestPostgres(): Promise<TestDatabase> {
  const server = await startPostgres({ fsync: "off" });
  try {
    const { db, close } = await openTestPostgres(await server.createDatabase());
    return { db, close: () => close().finally(() => server.stop()) };
  } catch (error) {
    server.stop();
    throw error;
  }
}

/** Every kind of database that this machine can run; for others, a skipped test says so. */
export function databasesHere(): readonly { name: string; create: () => Promise<TestDatabase> }[] {
  const embedded = { name: "the embedded database", create: createTestDatabase };
  if (hasPostgres) return [embedded, { name: "a PostgreSQL server", create: createTestPostgres }];
  test.skip("a PostgreSQL server: there is none on this machine", () => {});
  return [embedded];
}
