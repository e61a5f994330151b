/** Brings the database of DATABASE_URL up to date, and ends: before other processes of a new version start. */
import { join } from "node:path";
import { loadConfig, ROOT } from "./platform/config.ts";
import { Database } from "./platform/database.ts";
import { openPostgresDatabase } from "./platform/database-postgres.ts";
import { StartupError } from "./platform/errors.ts";
import { createLogger } from "./platform/logger.ts";

try {
  const { postgres, logLevel } = loadConfig();
  if (postgres === undefined) throw new StartupError("Set DATABASE_URL: there is nothing else to bring up to date.");
  const engine = await openPostgresDatabase({ ...postgres, logger: createLogger(logLevel) });
  await (await Database.open(engine, join(ROOT, "prisma/migrations"))).close();
  process.stderr.write("atelier: the database is up to date\n");
} catch (error) {
  if (!(error instanceof StartupError)) throw error;
  process.stderr.write(`atelier: ${error.message}\n`);
  process.exitCode = 1;
}
