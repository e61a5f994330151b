import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PGlite } from "@electric-sql/pglite";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { openEmbeddedDatabase } from "../../src/platform/database-embedded.ts";
import { StartupError } from "../../src/platform/errors.ts";
import { lockFolder } from "../../src/platform/folder-lock.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "atelier-database-"));
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true });
});

test.each([
  ["by PGlite", { name: "ErrnoError", errno: 51 }], // seen on a tmpfs of one megabyte
  ["by Node", Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" })],
])("a full disk is named as the reason when it is reported %s", async (_, error) => {
  vi.spyOn(PGlite, "create").mockRejectedValue(error);
  await expect(openEmbeddedDatabase(lockFolder(folder))).rejects.toThrow(
    new StartupError(
      `The disk of ${folder} is full, so the database cannot be opened. Make room and start again; nothing is lost.`,
    ),
  );
});

test("a damaged database is refused with the cause", async () => {
  mkdirSync(join(folder, "database"));
  writeFileSync(join(folder, "database/PG_VERSION"), "9\n");
  await expect(openEmbeddedDatabase(lockFolder(folder))).rejects.toThrow(
    /^The database in .*\/database cannot be opened: .+\. Restore the folder from a backup, or move it away/,
  );
});
