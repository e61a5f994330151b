import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { openForTest, readAll } from "./temporary-folder.ts";

const GOLDEN = "test/golden";
const TINY = "inference/presets/tiny";

/** The fixtures of torch 1.13.1 and their values as safetensors: test/golden/common. */
const EXPECTED = join(GOLDEN, "common/format_expected.safetensors");

const checkpointFolders = [TINY, ...readdirSync(GOLDEN).map((name) => join(GOLDEN, name, "checkpoint"))].filter(
  existsSync,
);
const realFiles = checkpointFolders.flatMap((folder) =>
  readdirSync(folder)
    .filter((name) => /\.(bin|ckpt)$/.test(name))
    .map((name) => join(folder, name)),
);

/** Compared as bytes: toEqual() takes seconds for as many values. */
const bytesOf = (values: Float32Array): Buffer => Buffer.from(values.buffer);

describe.each(["format_zip.ckpt", "format_legacy.ckpt"])("%s", (name) => {
  const path = join(GOLDEN, "common", name);

  test("gives the recorded values of every tensor", () => {
    const expected = readAll(EXPECTED);
    expect(expected.size).toBe(13);
    expect(readAll(path, "model")).toEqual(expected);
  });

  test("gives the recorded shapes", () => {
    const [actual, expected] = [openForTest(path, "model"), openForTest(EXPECTED)];
    for (const tensor of expected.names) expect(actual.find(tensor)?.shape).toEqual(expected.find(tensor)?.shape);
  });

  test("gives the element types of the storages", () => {
    const checkpoint = openForTest(path, "model");
    const types = checkpoint.names.map((tensor) => checkpoint.find(tensor)?.type);
    const floats = ["F32", "F32", "F32"];
    expect(types).toEqual([...floats, "BF16", "F16", "F64", "I64", "U8", "BOOL", "F32", "F32", "F32", "F32"]);
  });

  test("lists the tensors of nested dicts under dotted names, in file order", () => {
    expect(openForTest(path).names).toEqual(openForTest(path, "model").names.map((tensor) => `model.${tensor}`));
    expect(openForTest(path, "model").names.slice(0, 3)).toEqual(["base", "view", "transposed"]);
  });
});

describe("checkpoints of the original code", () => {
  test("are there", () => {
    expect(realFiles.length).toBeGreaterThanOrEqual(8);
  });

  test.each(realFiles)("%s reads in full with finite values", (path) => {
    const checkpoint = openForTest(path);
    expect(checkpoint.names.length).toBeGreaterThan(100);
    for (const name of checkpoint.names) {
      const values = checkpoint.readFloat32(name);
      expect(values.length).toBe(checkpoint.find(name)?.shape.reduce((product, size) => product * size, 1));
      expect(values.every(Number.isFinite)).toBe(true);
    }
  });

  test.each(realFiles.filter((path) => path.endsWith(".bf16.bin")))("%s equals its fp32 twin", (path) => {
    const [half, full] = [openForTest(path), openForTest(path.replace(".bf16.bin", ".bin"))];
    expect(half.names).toEqual(full.names);
    for (const name of half.names) {
      expect([half.find(name)?.type, full.find(name)?.type]).toEqual(["BF16", "F32"]);
      expect(bytesOf(half.readFloat32(name)).equals(bytesOf(full.readFloat32(name)))).toBe(true);
    }
  });

  test("give the shared output head of the language model the values of its embedding", () => {
    const tied = realFiles
      .map((path) => openForTest(path))
      .filter((each) => each.find("llm.lm_head.weight") !== undefined);
    expect(tied.length).toBeGreaterThan(0);
    for (const checkpoint of tied) {
      const embedding = checkpoint.readFloat32("llm.model.embed_tokens.weight");
      expect(bytesOf(checkpoint.readFloat32("llm.lm_head.weight")).equals(bytesOf(embedding))).toBe(true);
    }
  });
});
