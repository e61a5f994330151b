import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import type { Checkpoint } from "../../inference/checkpoint/checkpoint.ts";
import { openCheckpoint } from "../../inference/checkpoint/open-checkpoint.ts";

/** A folder that lives as long as the test. */
export function createFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "checkpoint-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Writes `bytes` to a file of its own and gives its path. */
export function createFile(bytes: Uint8Array | string, name = "model.ckpt"): string {
  const path = join(createFolder(), name);
  writeFileSync(path, bytes);
  return path;
}

/** Opens the checkpoint and closes it when the test ends. */
export function openForTest(path: string, root?: string): Checkpoint {
  const checkpoint = root === undefined ? openCheckpoint(path) : openCheckpoint(path, { root });
  onTestFinished(() => checkpoint.close());
  return checkpoint;
}

/** Opens the checkpoint, reads all of it and closes it; the values by tensor name. */
export function readAll(path: string, root?: string): Map<string, Float32Array> {
  const checkpoint = root === undefined ? openCheckpoint(path) : openCheckpoint(path, { root });
  try {
    return new Map(checkpoint.names.map((name) => [name, checkpoint.readFloat32(name)]));
  } finally {
    checkpoint.close();
  }
}
