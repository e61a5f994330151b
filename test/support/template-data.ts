/**
 * Made once for a test run: a data folder with an initialised, migrated database and the built tiny model. Tests copy it,
 * which takes a fraction of a second where making it takes seconds.
 */
import { spawnSync } from "node:child_process";
import { cpSync, linkSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import { Database } from "../../src/platform/database.ts";
import { openEmbeddedDatabase } from "../../src/platform/database-embedded.ts";
import { lockFolder } from "../../src/platform/folder-lock.ts";

declare module "vitest" {
  interface ProvidedContext {
    templateData: string;
  }
}

export default async function setup(project: TestProject): Promise<() => void> {
  const folder = mkdtempSync(join(tmpdir(), "atelier-template-"));
  const built = spawnSync(
    process.execPath,
    ["dist/inference/cli.js", "build", "inference/presets/tiny", "--out", join(folder, "models/tiny")],
    { encoding: "utf8" },
  );
  if (built.status !== 0) throw new Error(`the tiny model could not be built: ${built.stderr}`);
  const db = await Database.open(await openEmbeddedDatabase(lockFolder(folder)), "prisma/migrations");
  await db.close();
  project.provide("templateData", folder);
  return () => rmSync(folder, { recursive: true, force: true });
}

/** A data folder of one's own. */
export function copyTemplate(template: string): string {
  const folder = mkdtempSync(join(tmpdir(), "atelier-test-"));
  cpSync(join(template, "database"), join(folder, "database"), { recursive: true });
  linkFiles(join(template, "models"), join(folder, "models"));
  return folder;
}

/** The same files in another folder, for a model: nothing writes into a file of a model once it is there. */
export function linkFiles(from: string, to: string): void {
  mkdirSync(to);
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)];
    if (entry.isDirectory()) linkFiles(source, target);
    else linkSync(source, target);
  }
}
