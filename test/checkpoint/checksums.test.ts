import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { CheckpointError } from "../../inference/checkpoint/checkpoint.ts";
import { floats, ramp, torchEntries } from "./checkpoint-writer.ts";
import { pickle, tensorNode } from "./pickle-writer.ts";
import { createFolder, openForTest } from "./temporary-folder.ts";
import { writeZip } from "./zip-writer.ts";

/** 6 MB: more than is read at once. */
const LARGE_COUNT = 1_500_000;

/** A checkpoint of the tensors "first" and "second", which share storage 0, and "large" in storage 1. */
function setup({ checksum }: { checksum?: number } = {}) {
  const half = (offset: number) => tensorNode({ key: "0", storedCount: 6, offset, shape: [3], strides: [1] });
  const large = tensorNode({ key: "1", storedCount: LARGE_COUNT, shape: [LARGE_COUNT], strides: [1] });
  const top = new Map([
    ["first", half(0)],
    ["second", half(3)],
    ["large", large],
  ]);
  const order = { name: "archive/byteorder", content: Buffer.from("little") };
  const entries = torchEntries(pickle(top), { 0: floats(1, 2, 3, 4, 5, 6), 1: ramp(LARGE_COUNT) }, [order]);
  const path = join(createFolder(), "model.ckpt");
  writeZip(path, checksum === undefined ? entries : entries.map((entry) => ({ ...entry, checksum })));
  return {
    path,
    /** Changes one bit of a record's data. */
    damage(record: string, byte: number): void {
      const bytes = readFileSync(path);
      const header = bytes.indexOf(record) - 30;
      const position = header + 30 + bytes.readUInt16LE(header + 26) + bytes.readUInt16LE(header + 28) + byte;
      bytes.writeUInt8(bytes.readUInt8(position) ^ 1, position);
      writeFileSync(path, bytes);
    },
  };
}

/** What `read` throws. */
function failureOf(read: () => unknown): unknown {
  try {
    read();
    return undefined;
  } catch (error) {
    return error;
  }
}

describe("a damaged record", () => {
  test.each([
    ["archive/data/0", "first", 0],
    ["archive/data/0", "second", 0],
    ["archive/data/1", "large", 0],
    ["archive/data/1", "large", 4 * LARGE_COUNT - 1],
  ])("%s is refused by name when %s is read, wherever the damage is (byte %d)", (record, tensor, byte) => {
    const { path, damage } = setup();
    damage(record, byte);
    const checkpoint = openForTest(path);
    const failure = failureOf(() => checkpoint.readFloat32(tensor));
    expect(failure).toBeInstanceOf(CheckpointError);
    expect(failure).toHaveProperty(
      "message",
      expect.stringMatching(
        `^${path}: record "${record}" is damaged: its checksum is [0-9a-f]{8} instead of [0-9a-f]{8}. Download it again.$`,
      ),
    );
    expect(failureOf(() => checkpoint.readFloat32(tensor))).toEqual(failure);
  });

  test("does not keep the tensors of other records from being read", () => {
    const { path, damage } = setup();
    damage("archive/data/1", 17);
    expect([...openForTest(path).readFloat32("second")]).toEqual([4, 5, 6]);
  });

  test.each(["archive/data.pkl", "archive/byteorder"])("%s is refused when the checkpoint is opened", (record) => {
    const { path, damage } = setup();
    damage(record, 3);
    const failure = failureOf(() => openForTest(path));
    expect(failure).toBeInstanceOf(CheckpointError);
    expect(failure).toHaveProperty("message", expect.stringContaining(`record "${record}" is damaged`));
  });
});

test("a record is checked once, when its first tensor is read", () => {
  const { path, damage } = setup();
  const checkpoint = openForTest(path);
  expect([...checkpoint.readFloat32("first")]).toEqual([1, 2, 3]);
  damage("archive/data/0", 0);
  expect([...checkpoint.readFloat32("second")]).toEqual([4, 5, 6]);
});

test("a record that was saved without a checksum is read as it is", () => {
  const { path, damage } = setup({ checksum: 0 }); // torch.serialization.set_crc32_options(False)
  expect([...openForTest(path).readFloat32("second")]).toEqual([4, 5, 6]);
  damage("archive/data/0", 0);
  expect([...openForTest(path).readFloat32("second")]).toEqual([4, 5, 6]);
});
