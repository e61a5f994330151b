import { cpSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Tensor } from "onnxruntime-node";
import { type BuildResult, buildModel } from "../../inference/build-model.ts";
import { LoadedModel } from "../../inference/runtime/loaded-model.ts";
import { createFolder } from "../checkpoint/temporary-folder.ts";
import { PRESET, writeSmallestCheckpoint } from "./smallest-checkpoint.ts";
import { readTensors, type StoredValues, writeTensors } from "./tensor-files.ts";

export interface OwnCheckpoint {
  /** Holds the checkpoint folder and, when built, the model folder; nothing else. */
  readonly parent: string;
  readonly checkpoint: string;
  readonly out: string;
  readonly build: () => Promise<BuildResult>;
  /** What stands beside the checkpoint, hidden names too. */
  readonly results: () => readonly string[];
}

/** The tiny preset's checkpoint in a folder of its own. */
export const copyPreset = (): OwnCheckpoint => createOwn((folder) => cpSync(PRESET, folder, { recursive: true }));

/** A checkpoint of the smallest model, in a folder of its own: it is built in no time. */
export const createCheckpoint = (): OwnCheckpoint => createOwn(writeSmallestCheckpoint);

function createOwn(write: (folder: string) => void): OwnCheckpoint {
  const parent = createFolder();
  const checkpoint = join(parent, "checkpoint");
  const out = join(parent, "model");
  write(checkpoint);
  return {
    parent,
    checkpoint,
    out,
    build: () => buildModel({ checkpointFolder: checkpoint, out }),
    results: () => readdirSync(parent).filter((name) => name !== "checkpoint"),
  };
}

/** Rewrites the tensors of `pytorch_model.bin`, or with the root "model" those of `kl16.ckpt`. */
export function changeTensors(file: string, change: (tensors: Map<string, StoredValues>) => void, root?: string): void {
  const tensors = readTensors(file, root);
  change(tensors);
  writeTensors(file, tensors, root === undefined ? "" : `${root}.`);
}

export function changeJson(file: string, change: (content: Record<string, Record<string, unknown>>) => void): void {
  const content = JSON.parse(readFileSync(file, "utf8"));
  change(content);
  writeFileSync(file, JSON.stringify(content));
}

/** Runs one graph of a built model: it is complete and fits its weights. */
export async function expectToRun(out: string): Promise<void> {
  const model = LoadedModel.open(out, { provider: "cpu", threads: 1 });
  try {
    await model.run("diffusion-time", { times: new Tensor("float32", Float32Array.of(0, 999), [2]) }, ["embeddings"]);
  } finally {
    await model.close();
  }
}
