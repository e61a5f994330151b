/** Checkpoint folder to model folder: skipped when nothing changed, never half done. */
import { createHash } from "node:crypto";
import { createReadStream, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { type Dtype, loadManifest, MANIFEST_FILE, type Manifest, WEIGHTS_FILE } from "./manifest.ts";
import { type CheckpointFolder, findCheckpointFolder } from "./model/checkpoint-folder.ts";
import { buildUnipic } from "./model/unipic.ts";
import { fitLatentPreview } from "./pipelines/latent-preview.ts";
import { LoadedModel } from "./runtime/loaded-model.ts";
import { threadsFor } from "./runtime/threads.ts";
import { PromptTokenizer } from "./tokenizer/prompt-tokenizer.ts";
import { makeUnfinishedFolder, removeUnfinishedFolder, replaceFolder } from "./unfinished-folder.ts";

export interface BuildOptions {
  readonly checkpointFolder: string;
  readonly out: string;
  /** float32 unless given. */
  readonly dtype?: Dtype;
  /** Whether the rotary frequencies are rounded to bf16: as the configuration says unless given. */
  readonly ropeInvFreqBf16?: boolean;
  /** A unipic.json elsewhere than in the checkpoint folder. */
  readonly configFile?: string;
  /** Build a model without a tokenizer where the checkpoint has none: only token ids can be given to it. */
  readonly allowsNoTokenizer?: boolean;
  /** Told what is being done, and which share of it is done. */
  readonly onProgress?: (progress: BuildProgress) => void;
}

export interface BuildProgress {
  /** Writing takes by far the longest; then the files are read once more for their digest; then the preview is fitted. */
  readonly stage: "weights" | "digest" | "preview";
  /** 0..1 */
  readonly share: number;
}

export interface BuildResult {
  readonly manifest: Manifest;
  /** False when `out` already held this very build. */
  readonly isNew: boolean;
}

/** Builds next to `out` and moves the finished folder there: `out` is the old model, or the new one, never a mixture. */
export async function buildModel(options: BuildOptions): Promise<BuildResult> {
  const { out, dtype = "float32", onProgress = () => {} } = options;
  const checkpoint = withRotary(
    findCheckpointFolder(options.checkpointFolder, options.configFile),
    options.ropeInvFreqBf16,
  );
  const source = sourceDigest(checkpoint, dtype);
  const current = existsSync(join(out, MANIFEST_FILE)) ? tryLoadManifest(out) : undefined;
  if (current?.source === source) return { manifest: current, isNew: false };
  if (!isReplaceable(out)) {
    throw new Error(`${out} holds something else than a built model. Name an empty or new folder.`);
  }
  // Whoever serves the model could not start; loading it here says why, before minutes of building.
  if (checkpoint.tokenizerFiles.length > 0 || !options.allowsNoTokenizer) {
    PromptTokenizer.load(checkpoint.tokenizerFolder);
  }
  const unfinished = makeUnfinishedFolder(out);
  try {
    const description = buildUnipic(checkpoint, {
      out: unfinished,
      dtype,
      onProgress: (share) => onProgress({ stage: "weights", share }),
    });
    const digest = await contentDigest(unfinished, (share) => onProgress({ stage: "digest", share }));
    const draft: Manifest = { ...description, source, digest, latentPreview: [] };
    onProgress({ stage: "preview", share: 0 });
    const model = LoadedModel.open(unfinished, { provider: "cpu", threads: threadsFor(unfinished) }, draft);
    const latentPreview = await fitLatentPreview(model).finally(() => model.close());
    const manifest: Manifest = { ...draft, latentPreview: latentPreview.map((row) => [...row]) };
    writeFileSync(join(unfinished, MANIFEST_FILE), `${JSON.stringify(manifest, undefined, 2)}\n`);
    replaceFolder(out, unfinished);
    return { manifest, isNew: true };
  } finally {
    removeUnfinishedFolder(unfinished);
  }
}

/** The configuration with the option in place of its own value, so that the source's digest covers it. */
function withRotary(checkpoint: CheckpointFolder, ropeInvFreqBf16: boolean | undefined): CheckpointFolder {
  if (ropeInvFreqBf16 === undefined) return checkpoint;
  const { config } = checkpoint;
  return { ...checkpoint, config: { ...config, llm: { ...config.llm, rope_inv_freq_bf16: ropeInvFreqBf16 } } };
}

/** Absent, empty, or a model: other people's folders may well hold a manifest.json, but no weights beside it. */
const isReplaceable = (out: string): boolean =>
  !existsSync(out) ||
  (statSync(out).isDirectory() &&
    (readdirSync(out).length === 0 || [MANIFEST_FILE, WEIGHTS_FILE].every((name) => existsSync(join(out, name)))));

/** A manifest of another version is as good as none: the model is built again. */
function tryLoadManifest(folder: string): Manifest | undefined {
  try {
    return loadManifest(folder);
  } catch {
    return undefined;
  }
}

/** At a time; the default of 64 KiB costs more in turns of the event loop than in reading. */
const READ_BYTES = 4 * 1024 * 1024;

/**
 * What a build depends on: the checkpoint's files by path, size and time (reading 12 GB would take minutes), its
 * configuration by content, the dtype, and the code that builds.
 */
function sourceDigest(checkpoint: CheckpointFolder, dtype: Dtype): string {
  const hash = createHash("sha256").update(dtype).update(JSON.stringify(checkpoint.config));
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

async function contentDigest(folder: string, onProgress: (share: number) => void): Promise<string> {
  const hash = createHash("sha256");
  const names = readdirSync(folder).sort();
  const total = names.reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
  let done = 0;
  for (const name of names) {
    hash.update(`${name}\0`);
    for await (const chunk of createReadStream(join(folder, name), { highWaterMark: READ_BYTES })) {
      hash.update(chunk as Buffer);
      done += (chunk as Buffer).length;
      onProgress(done / total);
    }
  }
  return hash.digest("hex");
}
