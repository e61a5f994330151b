/** Makes a person an administrator of the platform, or ends that: by whoever has the database, when no administrator can. */
import { join } from "node:path";
import { loadConfig, ROOT } from "./platform/config.ts";
import { Database } from "./platform/database.ts";
import { openEmbeddedDatabase } from "./platform/database-embedded.ts";
import { openPostgresDatabase } from "./platform/database-postgres.ts";
import { DomainError, StartupError } from "./platform/errors.ts";
import { lockFolder } from "./platform/folder-lock.ts";
import { createLogger } from "./platform/logger.ts";
import { setPlatformAdmin } from "./tenancy/platform-admin.ts";

const USAGE = 'usage: node dist/src/platform-admin.js grant|revoke <e-mail address> "<reason>"';

try {
  const [act, email, reason] = process.argv.slice(2);
  if ((act !== "grant" && act !== "revoke") || email === undefined || reason === undefined)
    throw new StartupError(USAGE);
  const { postgres, dataDir, logLevel } = loadConfig();
  const engine =
    postgres === undefined
      ? await openEmbeddedDatabase(lockFolder(dataDir)) // the lock is over with this process
      : await openPostgresDatabase({ ...postgres, logger: createLogger(logLevel) });
  const db = await Database.open(engine, join(ROOT, "prisma/migrations"));
  const change = { email, isPlatformAdmin: act === "grant", reason };
  const isChanged = await setPlatformAdmin(db, change).finally(() => db.close());
  const what = change.isPlatformAdmin ? "an administrator" : "no administrator";
  process.stderr.write(`atelier: ${email} ${isChanged ? "is" : "was already"} ${what} of the platform\n`);
} catch (error) {
  if (!(error instanceof StartupError || error instanceof DomainError)) throw error;
  process.stderr.write(`atelier: ${error.message}\n`);
  process.exitCode = 1;
}
