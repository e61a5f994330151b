/**
 * Applies prisma/migrations with Prisma's schema engine compiled to WebAssembly: no native binary to download, and the
 * same history table as `prisma migrate deploy` keeps. The engine's interface is not a documented one, hence the exact
 * version in package.json, this single file, and its tests. Starting the engine takes longer than all else that opens a
 * database: where the history says that every migration has been applied, nobody asks it.
 */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import {
  bindMigrationAwareSqlAdapterFactory,
  type SqlMigrationAwareDriverAdapterFactory,
} from "@prisma/driver-adapter-utils";
import * as engineModule from "@prisma/schema-engine-wasm/schema_engine_bg";

type SchemaEngine = engineModule.SchemaEngine;
type MigrationList = Parameters<SchemaEngine["applyMigrations"]>[0]["migrationsList"];

/** The part of the global that is used; TypeScript knows it only together with the browser's globals. */
declare const WebAssembly: {
  instantiate(
    bytes: Uint8Array,
    imports: Readonly<Record<string, unknown>>,
  ): Promise<{ instance: { exports: { __wbindgen_start?: () => void } } }>;
};

const NO_FILTER = { externalTables: [], externalEnums: [] };

const EMPTY_SCRIPT = "-- This is an empty migration.";

let instantiated: Promise<void> | undefined;

/** Brings the database up to date; the names of the migrations that were missing. */
export async function applyMigrations(
  factory: SqlMigrationAwareDriverAdapterFactory,
  folder: string,
): Promise<readonly string[]> {
  const migrationsList = listMigrations(folder);
  if (await areAllApplied(factory, migrationsList)) return [];
  const engine = await openEngine(factory);
  const { appliedMigrationNames } = await engine.applyMigrations({ migrationsList, filters: NO_FILTER });
  return appliedMigrationNames;
}

/** Whether the history is of these migrations, as they are, and of no other or failed one: else, the engine says what it means. */
async function areAllApplied(
  factory: SqlMigrationAwareDriverAdapterFactory,
  { migrationDirectories }: MigrationList,
): Promise<boolean> {
  const adapter = await factory.connect();
  try {
    const read = async (sql: string) => (await adapter.queryRaw({ sql, args: [], argTypes: [] })).rows;
    const [history] = await read("select to_regclass('_prisma_migrations') is not null");
    if (history?.[0] !== true) return false;
    const applied = await read(
      `select migration_name || ' ' || case when finished_at is null then '' else checksum end
        from _prisma_migrations where rolled_back_at is null order by migration_name collate "C"`,
    );
    const wanted = migrationDirectories.map(({ path, migrationFile: { content } }) =>
      content.tag === "ok" ? `${path} ${createHash("sha256").update(content.value).digest("hex")}` : path,
    );
    return JSON.stringify(applied.flat()) === JSON.stringify(wanted);
  } finally {
    await adapter.dispose();
  }
}

/** SQL that leads from the migrations to the schema: empty when they agree. Works in the factory's shadow database. */
export async function diffMigrations(
  factory: SqlMigrationAwareDriverAdapterFactory,
  { folder, schemaFile }: { folder: string; schemaFile: string },
): Promise<string> {
  const engine = await openEngine(factory);
  const { stdout } = await engine.diff({
    from: { tag: "migrations", ...listMigrations(folder) },
    to: {
      tag: "schemaDatamodel",
      files: [{ path: schemaFile, content: readFileSync(schemaFile, "utf8") }],
    },
    script: true,
    exitCode: null,
    filters: NO_FILTER,
  });
  return stdout === null || stdout.trim() === EMPTY_SCRIPT ? "" : stdout;
}

async function openEngine(factory: SqlMigrationAwareDriverAdapterFactory): Promise<SchemaEngine> {
  instantiated ??= instantiateEngine();
  await instantiated;
  return engineModule.SchemaEngine.new(
    { datamodels: undefined },
    () => {},
    bindMigrationAwareSqlAdapterFactory(factory),
  );
}

/** What the package's own entry does with an import of a .wasm file, which Node 20 cannot do. */
async function instantiateEngine(): Promise<void> {
  const folder = dirname(createRequire(import.meta.url).resolve("@prisma/schema-engine-wasm"));
  const bytes = readFileSync(join(folder, "schema_engine_bg.wasm"));
  const { instance } = await WebAssembly.instantiate(bytes, { "./schema_engine_bg.js": engineModule });
  engineModule.__wbg_set_wasm(instance.exports);
  instance.exports.__wbindgen_start?.();
}

function listMigrations(folder: string): MigrationList {
  const names = readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .sort();
  return {
    baseDir: folder,
    shadowDbInitScript: "",
    lockfile: { path: "migration_lock.toml", content: 'provider = "postgresql"\n' },
    migrationDirectories: names.map((name) => ({
      path: name,
      migrationFile: {
        path: "migration.sql",
        content: { tag: "ok", value: readFileSync(join(folder, name, "migration.sql"), "utf8") },
      },
    })),
  };
}
