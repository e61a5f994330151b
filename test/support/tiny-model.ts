import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inject } from "vitest";
import { linkFiles } from "./template-data.ts";

export interface TinyModel {
  readonly folder: string;
  remove(): void;
}

/** The tiny preset, as it was built for this test run, in a temporary folder. */
export function openTinyModel(): TinyModel {
  const parent = mkdtempSync(join(tmpdir(), "atelier-tiny-"));
  const folder = join(parent, "model");
  linkFiles(join(inject("templateData"), "models/tiny"), folder);
  return { folder, remove: () => rmSync(parent, { recursive: true, force: true }) };
}
