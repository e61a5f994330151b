/**
 * Applies prisma/migrations with Prisma's schema engine compiled to WebAssembly: no native binary to download, and the
 * same history table as `prisma migrate deploy` keeps. The engine's interface is not a documented one, hence the exact
 * version in package.json, this single file, and its tests.
 */
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
  const engine = await openEngine(factory);
  const { appliedMigrationNames } = await engine.applyMigrations({
    migrationsList: listMigrations(folder),
    filters: NO_FILTER,
  });
  return appliedMigrationNames;
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
