/**
 * Golden folders: small configurations of the model with recorded inputs and outputs of the original code. Every folder
 * with a config.json and a checkpoint is one; GOLDEN_DIR names another place to look for them.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { expect } from "vitest";
import type { Checkpoint } from "../../inference/checkpoint/checkpoint.ts";
import { openCheckpoint } from "../../inference/checkpoint/open-checkpoint.ts";

const GOLDEN_DIR = resolve(process.env["GOLDEN_DIR"] ?? "test/golden");

/** Limits of an independent fp32 implementation, relative to max(1, largest absolute value): golden README. */
export const STAGE_LIMIT = 3e-5;
export const RUN_LIMIT = 1e-4;

export interface Configuration {
  readonly name: string;
  readonly folder: string;
}

/** GOLDEN_DIR itself, or the configurations in it. */
export function goldenConfigurations(): readonly Configuration[] {
  const candidates = [GOLDEN_DIR, ...readdirSync(GOLDEN_DIR).map((name) => join(GOLDEN_DIR, name))];
  const folders = candidates.filter(
    (folder) => existsSync(join(folder, "config.json")) && existsSync(join(folder, "checkpoint")),
  );
  if (folders.length === 0) throw new Error(`GOLDEN_DIR=${GOLDEN_DIR} holds no golden configuration`);
  return folders.map((folder) => ({ name: folder.slice(folder.lastIndexOf("/") + 1), folder }));
}

export interface Recording {
  readonly names: readonly string[];
  /** Values and shape of a recorded tensor. */
  get(name: string): { values: Float32Array; shape: readonly number[] };
  has(name: string): boolean;
  /** The run's parameters. */
  readonly metadata: Readonly<Record<string, string>>;
}

export function loadRecording(file: string): Recording {
  const checkpoint: Checkpoint = openCheckpoint(file);
  const header = readFileSync(file).subarray(8, 8 + Number(readFileSync(file).readBigUInt64LE(0)));
  const { __metadata__: metadata = {} } = JSON.parse(header.toString("utf8")) as {
    __metadata__?: Record<string, string>;
  };
  return {
    names: checkpoint.names,
    metadata,
    has: (name) => checkpoint.find(name) !== undefined,
    get(name) {
      const entry = checkpoint.find(name);
      if (entry === undefined) throw new Error(`${file} has no ${name}`);
      return { values: checkpoint.readFloat32(name), shape: entry.shape };
    },
  };
}

/** Largest deviation, relative to max(1, largest expected value). */
export function deviation(actual: Float32Array, expected: Float32Array): number {
  expect(actual.length).toBe(expected.length);
  let difference = 0;
  let largest = 1;
  for (const [i, value] of expected.entries()) {
    const error = Math.abs((actual[i] ?? Number.NaN) - value);
    if (!(error <= difference)) difference = error;
    largest = Math.max(largest, Math.abs(value));
  }
  return difference / largest;
}
