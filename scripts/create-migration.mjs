// Writes the SQL that leads from the existing migrations to prisma/schema.prisma as a new migration:
//   node scripts/create-migration.mjs add_webhooks
// Policies, partial and expression indexes and functions are added to the file by hand, in PostgreSQL 15 syntax.
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PGlite } from "@electric-sql/pglite";
import { PrismaPGlite } from "pglite-prisma-adapter";
import { diffMigrations } from "../dist/src/platform/database-migrations.js";

const [name] = process.argv.slice(2);
if (!/^[a-z][a-z0-9_]*$/.test(name ?? "")) {
  console.error("usage: node scripts/create-migration.mjs <name_in_snake_case>");
  process.exit(2);
}
const folder = "prisma/migrations";
mkdirSync(folder, { recursive: true });
const base = new PrismaPGlite(new PGlite());
const factory = {
  provider: "postgres",
  adapterName: "pglite", // the engine asks adapters of this name for a shadow database
  connect: () => base.connect(),
  connectToShadowDb: () => new PrismaPGlite(new PGlite()).connect(),
};
const sql = await diffMigrations(factory, { folder, schemaFile: "prisma/schema.prisma" });
if (sql === "") {
  console.log("The migrations already lead to the schema: nothing to write.");
} else {
  const numbers = readdirSync(folder).map((entry) => Number(/^(\d{4})_/.exec(entry)?.[1] ?? 0));
  const number = String(Math.max(0, ...numbers) + 1).padStart(4, "0");
  mkdirSync(join(folder, `${number}_${name}`));
  writeFileSync(join(folder, `${number}_${name}`, "migration.sql"), sql);
  console.log(`wrote ${folder}/${number}_${name}/migration.sql`);
}
process.exit(0);
