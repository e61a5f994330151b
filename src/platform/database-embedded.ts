/** The embedded database: PostgreSQL compiled to WebAssembly (PGlite), in a folder that one process owns. */
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PGlite } from "@electric-sql/pglite";
import { PrismaPGlite } from "pglite-prisma-adapter";
import type { DatabaseEngine } from "./database.ts";
import { InProcessDoorbell } from "./doorbell.ts";
import { StartupError } from "./errors.ts";
import type { FolderLock } from "./folder-lock.ts";

const DATABASE_FOLDER = "database";
const REWRITTEN_TABLES = ["attempt", "batch", "generation", "limits", "reservation", "pool", "pool_lease", "upload"];
/** Present while the folder is being initialised: a start that was interrupted then begins anew. */
const UNFINISHED_FILE = "database.unfinished";

/** A few thousand rows of a table are read for them: some milliseconds. */
const STATISTICS_TARGET = 10;

/** ENOSPC in WASI's list of errors. */
const WASI_ENOSPC = 51;

/** Opens the database in a locked folder, creating it if need be. Owns the lock from here on, also when this fails. */
export async function openEmbeddedDatabase(lock: FolderLock): Promise<DatabaseEngine> {
  try {
    const client = await openPglite(lock.folder);
    const factory = new PrismaPGlite(client);
    return {
      factory,
      doorbell: new InProcessDoorbell(),
      isExclusive: true,
      async migrate(apply) {
        await apply(factory);
      },
      // A server has its autovacuum; here, rows that are rewritten all the time would make their tables grow for ever, and
      // without statistics a claim beside limits that are reached would sort the whole queue (bench/claim.ts).
      async vacuum() {
        await client.exec(`set default_statistics_target = ${STATISTICS_TARGET}`);
        for (const table of REWRITTEN_TABLES) await client.exec(`vacuum (analyze) ${table}`);
      },
      async close() {
        await client.close();
        lock.release();
      },
    };
  } catch (error) {
    lock.release();
    throw error;
  }
}

async function openPglite(dataDir: string): Promise<PGlite> {
  const folder = join(dataDir, DATABASE_FOLDER);
  const unfinished = join(dataDir, UNFINISHED_FILE);
  const isNew = !existsSync(folder) || existsSync(unfinished);
  try {
    if (isNew) {
      writeFileSync(unfinished, "");
      rmSync(folder, { recursive: true, force: true });
    }
    const client = await PGlite.create({ dataDir: folder });
    rmSync(unfinished, { force: true });
    return client;
  } catch (cause) {
    if (isDiskFull(cause)) {
      throw new StartupError(
        `The disk of ${dataDir} is full, so the database cannot be opened. Make room and start again; nothing is lost.`,
        { cause },
      );
    }
    throw new StartupError(
      `The database in ${folder} cannot be opened: ${reasonOf(cause)}. Restore the folder from a backup, or move it away to start with an empty one.`,
      { cause },
    );
  }
}

/** Of Node, or of PGlite: Emscripten numbers errors as WASI does. */
function isDiskFull(error: unknown): boolean {
  if (typeof error !== "object" || error === null) return false;
  return ("code" in error && error.code === "ENOSPC") || ("errno" in error && error.errno === WASI_ENOSPC);
}

/** Errors of PGlite's file system have a number, and no message. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error))
    return typeof error === "object" && error !== null && "errno" in error
      ? `error ${String(error.errno)} of its file system`
      : String(error);
  return error.message;
}
