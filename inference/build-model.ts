/** Checkpoint folder to model folder: skipped when nothing changed, never half done. */
import { createHash } from "node:crypto";
import {
  createReadStream,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { loadManifest, MANIFEST_FILE, type Manifest } from "./manifest.ts";
import { type CheckpointFolder, findCheckpointFolder } from "./model/checkpoint-folder.ts";
import { buildUnipic } from "./model/unipic.ts";
import { fitLatentPreview } from "./pipelines/latent-preview.ts";
import { type Execution, LoadedModel } from "./runtime/loaded-model.ts";

export interface BuildOptions {
  readonly checkpointFolder: string;
  readonly out: string;
  /** A unipic.json elsewhere than in the checkpoint folder. */
  readonly configFile?: string;
  readonly execution: Execution;
}

export interface BuildResult {
  readonly manifest: Manifest;
  /** False when `out` already held this very build. */
  readonly isNew: boolean;
}

/** Builds next to `out` and moves the finished folder there: `out` is the old model, or the new one, never a mixture. */
export async function buildModel({ checkpointFolder, out, configFile, execution }: BuildOptions): Promise<BuildResult> {
  const checkpoint = findCheckpointFolder(checkpointFolder, configFile);
  const source = sourceDigest(checkpoint);
  const current = existsSync(join(out, MANIFEST_FILE)) ? tryLoadManifest(out) : undefined;
  if (current?.source === source) return { manifest: current, isNew: false };
  if (
    existsSync(out) &&
    current === undefined &&
    readdirSync(out).length > 0 &&
    !existsSync(join(out, MANIFEST_FILE))
  ) {
    throw new Error(`${out} holds something else than a built model. Name an empty or new folder.`);
  }
  const unfinished = makeUnfinishedFolder(out);
  try {
    const description = buildUnipic(checkpoint, unfinished);
    const draft: Manifest = { ...description, source, digest: await contentDigest(unfinished), latentPreview: [] };
    const model = LoadedModel.open(unfinished, execution, draft);
    const latentPreview = await fitLatentPreview(model).finally(() => model.close());
    const manifest: Manifest = { ...draft, latentPreview: latentPreview.map((row) => [...row]) };
    writeFileSync(join(unfinished, MANIFEST_FILE), `${JSON.stringify(manifest, undefined, 2)}\n`);
    replaceFolder(out, unfinished);
    return { manifest, isNew: true };
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
}

/** A manifest of another version is as good as none: the model is built again. */
function tryLoadManifest(folder: string): Manifest | undefined {
  try {
    return loadManifest(folder);
  } catch {
    return undefined;
  }
}

/** Leftovers of builds that were killed are removed on the way. */
function makeUnfinishedFolder(out: string): string {
  const parent = dirname(resolve(out));
  const prefix = `.${basename(out)}.building-`;
  try {
    mkdirSync(parent, { recursive: true });
    for (const name of readdirSync(parent)) {
      if (name.startsWith(prefix) && !isAlive(Number(name.slice(prefix.length))))
        rmSync(join(parent, name), { recursive: true });
    }
    const folder = join(parent, `${prefix}${process.pid}`);
    mkdirSync(folder);
    return folder;
  } catch (cause) {
    throw new Error(`Cannot write to ${parent}. Name a folder that you may write to.`, { cause });
  }
}

function replaceFolder(out: string, finished: string): void {
  const replaced = `${finished}.old`;
  if (existsSync(out)) renameSync(out, replaced);
  renameSync(finished, out);
  rmSync(replaced, { recursive: true, force: true });
}

/**
 * What a build depends on: the checkpoint's files by path, size and time (reading 12 GB would take minutes), its
 * configuration by content, and the code that builds.
 */
function sourceDigest(checkpoint: CheckpointFolder): string {
  const hash = createHash("sha256").update(JSON.stringify(checkpoint.config));
  for (const file of checkpoint.files) {
    const { size, mtimeMs } = statSync(file);
    hash.update(`${resolve(file)}\0${size}\0${mtimeMs}\0`);
  }
  const here = dirname(fileURLToPath(import.meta.url));
  for (const folder of ["graph", "model", "checkpoint"]) {
    for (const name of readdirSync(join(here, folder)).sort()) {
      if (/\.[jt]s$/.test(name)) hash.update(readFileSync(join(here, folder, name)));
    }
  }
  return hash.digest("hex");
}

async function contentDigest(folder: string): Promise<string> {
  const hash = createHash("sha256");
  for (const name of readdirSync(folder).sort()) {
    hash.update(`${name}\0`);
    for await (const chunk of createReadStream(join(folder, name))) hash.update(chunk as Buffer);
  }
  return hash.digest("hex");
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
