import { rmSync } from "node:fs";
import { inject } from "vitest";
import { Database } from "../../src/platform/database.ts";
import { openEmbeddedDatabase } from "../../src/platform/database-embedded.ts";
import { lockFolder } from "../../src/platform/folder-lock.ts";
import { copyTemplate } from "./template-data.ts";

/** A migrated, empty database of one's own. */
export async function createTestDatabase(): Promise<{ db: Database; close(): Promise<void> }> {
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
