import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { CheckpointError } from "../../inference/checkpoint/checkpoint.ts";
import { createFile, readAll } from "./temporary-folder.ts";

const COMMON = "test/golden/common";
const FIXTURES = ["format_zip.ckpt", "format_legacy.ckpt", "format_expected.safetensors"].map((name) =>
  join(COMMON, name),
);
const LARGE = "inference/presets/tiny/kl16.ckpt";
const CUTS = 60;
const FLIPS = 400;

/** mulberry32: the same damage in every run. */
function createRandom(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (state + 0x6d2b79f5) | 0;
    let bits = Math.imul(state ^ (state >>> 15), 1 | state);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return ((bits ^ (bits >>> 14)) >>> 0) % limit;
  };
}

/** An archive as torch writes it with checksums switched off, so that damage reaches what lies behind them. */
function withoutChecksums(archive: Buffer): Buffer {
  const bytes = Buffer.from(archive);
  for (let at = bytes.indexOf("PK\x01\x02"); at >= 0; at = bytes.indexOf("PK\x01\x02", at + 1)) {
    bytes.writeUInt32LE(0, at + 16);
  }
  return bytes;
}

/** What reading the damaged file throws; undefined if it still reads. */
function failureOf(path: string, bytes: Uint8Array): unknown {
  writeFileSync(path, bytes);
  try {
    readAll(path);
    return undefined;
  } catch (error) {
    return error;
  }
}

test.each([...FIXTURES, LARGE])("%s cut off anywhere is a CheckpointError", (fixture) => {
  const bytes = readFileSync(fixture);
  const path = createFile("");
  const spread = Array.from({ length: CUTS }, (_, i) => Math.floor((i * bytes.length) / CUTS));
  const start = Array.from({ length: 20 }, (_, i) => i);
  const end = Array.from({ length: 30 }, (_, i) => bytes.length - 1 - i);
  for (const length of [...spread, ...start, ...end]) {
    expect(failureOf(path, bytes.subarray(0, length)), `cut at ${length}`).toBeInstanceOf(CheckpointError);
  }
});

/** Where a flipped bit does more than change a value: pickles and headers. */
const STRUCTURES: readonly [name: string, fixture: string, start: number, end: number][] = [
  ["the pickle of the zip format", "format_zip.ckpt", 64, 64 + 1115],
  ["the directory of the zip format", "format_zip.ckpt", 2400, 3499],
  ["the pickles of the legacy format", "format_legacy.ckpt", 0, 1550],
  ["the header of safetensors", "format_expected.safetensors", 0, 900],
];

test.each(STRUCTURES)("%s with flipped bits reads or is a CheckpointError", (_, fixture, start, end) => {
  const intact = withoutChecksums(readFileSync(join(COMMON, fixture)));
  const path = createFile("");
  const random = createRandom(20_240_611);
  let refused = 0;
  for (let i = 0; i < FLIPS; i++) {
    const bytes = Buffer.from(intact);
    for (let flips = 1 + random(3); flips > 0; flips--) {
      const at = start + random(Math.min(end, bytes.length) - start);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << random(8));
    }
    const failure = failureOf(path, bytes);
    if (failure === undefined) continue;
    expect(failure, `damage number ${i}`).toBeInstanceOf(CheckpointError);
    refused++;
  }
  expect(refused).toBeGreaterThan(FLIPS / 4);
});

test("random bytes in place of the pickle read or are a CheckpointError", () => {
  const intact = withoutChecksums(readFileSync(join(COMMON, "format_zip.ckpt")));
  const path = createFile("");
  const random = createRandom(7);
  // Opcodes only, so that the machine gets further than with random bytes.
  const characters =
    "(012ghjpqrNIJKLMSTUVXBCltdaesucRoibQ}])\x80\x81\x85\x86\x87\x88\x89\x8a\x8c\x8f\x90\x91\x92\x93\x94\x95";
  for (let i = 0; i < FLIPS; i++) {
    const bytes = Buffer.from(intact);
    for (let at = 66; at < 64 + 1114; at++) {
      const isOpcode = random(4) > 0;
      bytes[at] = isOpcode ? characters.charCodeAt(random(characters.length)) : random(256);
    }
    const failure = failureOf(path, bytes);
    if (failure !== undefined) expect(failure, `pickle number ${i}`).toBeInstanceOf(CheckpointError);
  }
});
