import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildModel } from "../../inference/build-model.ts";

export interface TinyModel {
  readonly folder: string;
  remove(): void;
}

/** The tiny preset, built into a temporary folder. */
export async function buildTinyModel(): Promise<TinyModel> {
  const parent = mkdtempSync(join(tmpdir(), "atelier-tiny-"));
  const folder = join(parent, "model");
  await buildModel({ checkpointFolder: "inference/presets/tiny", out: folder });
  return { folder, remove: () => rmSync(parent, { recursive: true, force: true }) };
}
