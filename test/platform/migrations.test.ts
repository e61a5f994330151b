import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PGlite } from "@electric-sql/pglite";
import { PrismaPGlite } from "pglite-prisma-adapter";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { asPlatform } from "../../src/platform/access.ts";
import { Database } from "../../src/platform/database.ts";
import { openEmbeddedDatabase } from "../../src/platform/database-embedded.ts";
import { applyMigrations, diffMigrations } from "../../src/platform/database-migrations.ts";
import { lockFolder } from "../../src/platform/folder-lock.ts";

const FOLDER = "prisma/migrations";

describe("the migrations", () => {
  let client: PGlite;

  beforeAll(() => {
    client = new PGlite();
  });
  afterAll(() => client.close());

  const factory = (database: PGlite) => {
    const base = new PrismaPGlite(database);
    return {
      provider: "postgres",
      adapterName: "pglite",
      connect: () => base.connect(),
      connectToShadowDb: () => base.connect(),
    } as const;
  };

  test("lead to the schema: nothing is left to migrate", async () => {
    expect(await diffMigrations(factory(client), { folder: FOLDER, schemaFile: "prisma/schema.prisma" })).toBe("");
  });

  test("are applied in their order, once, and one that failed is not passed over", async () => {
    const fresh = new PGlite();
    const names = readdirSync(FOLDER).filter((name) => /^\d{4}_/.test(name));
    expect(await applyMigrations(factory(fresh), FOLDER)).toEqual(names.sort());
    expect(await applyMigrations(factory(fresh), FOLDER)).toEqual([]);

    const later = mkdtempSync(join(tmpdir(), "atelier-migrations-"));
    cpSync(FOLDER, later, { recursive: true });
    mkdirSync(join(later, "9999_later"));
    writeFileSync(join(later, "9999_later", "migration.sql"), "create table later (id int);\n");
    expect(await applyMigrations(factory(fresh), later)).toEqual(["9999_later"]);
    expect(await applyMigrations(factory(fresh), later)).toEqual([]);
    await fresh.exec("update _prisma_migrations set finished_at = null where migration_name = '9999_later'");
    await expect(applyMigrations(factory(fresh), later)).rejects.toThrow();
    rmSync(later, { recursive: true });
    await fresh.close();
  });
});

test("a start that was interrupted while the database was being made begins anew", async () => {
  const folder = mkdtempSync(join(tmpdir(), "atelier-database-"));

  mkdirSync(join(folder, "database"));
  writeFileSync(join(folder, "database", "PG_VERSION"), "half");
  writeFileSync(join(folder, "database.unfinished"), "");
  const db = await Database.open(await openEmbeddedDatabase(lockFolder(folder)), FOLDER);
  expect(await db.transaction(asPlatform, (tx) => tx.tenant.count())).toBe(0);
  await db.close();
  rmSync(folder, { recursive: true });
});

test("a damaged database is refused with clear words, and the folder is free again", async () => {
  const folder = mkdtempSync(join(tmpdir(), "atelier-database-"));

  mkdirSync(join(folder, "database"));
  writeFileSync(join(folder, "database", "PG_VERSION"), "garbage");
  for (let attempt = 0; attempt < 2; attempt++) {
    await expect(openEmbeddedDatabase(lockFolder(folder))).rejects.toThrow(
      "Restore the folder from a backup, or move it away",
    );
  }
  rmSync(folder, { recursive: true });
});
