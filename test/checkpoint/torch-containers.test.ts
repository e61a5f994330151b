import { mkdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { floats, ramp, writeTorchLegacy, writeTorchZip } from "./checkpoint-writer.ts";
import { type Node, pickle, tensorNode } from "./pickle-writer.ts";
import { createFile, createFolder, openForTest } from "./temporary-folder.ts";
import { writeZip } from "./zip-writer.ts";

const vector = (count: number, key = "0"): Node =>
  tensorNode({ key, storedCount: count, shape: [count], strides: [1] });
const oneTensor = pickle(new Map([["x", vector(3)]]));

describe("the zip format", () => {
  test("reads tensors beyond 4 GB and out of storages larger than that", () => {
    const path = join(createFolder(), "huge.bin");
    const hugeCount = 2 ** 30 + 4096; // fp32: 4 GiB and a bit, as zeros that take no disk space
    const last = tensorNode({ key: "0", storedCount: hugeCount, offset: hugeCount - 2, shape: [2], strides: [1] });
    const top = new Map([
      ["small", vector(5, "1")],
      ["last", last],
      ["mark", vector(1, "2")],
    ]);
    writeZip(path, [
      { name: "huge/data.pkl", content: pickle(top) },
      { name: "huge/data/0", content: hugeCount * 4 },
      { name: "huge/data/1", content: ramp(5) },
      { name: "huge/data/2", content: floats(42) },
    ]);
    const checkpoint = openForTest(path);
    expect([...checkpoint.readFloat32("small")]).toEqual([0, 1, 2, 3, 4]);
    expect([...checkpoint.readFloat32("mark")]).toEqual([42]);
    expect([...checkpoint.readFloat32("last")]).toEqual([0, 0]);
  });

  test("reads small archives whose sizes are all in zip64 fields", () => {
    const path = join(createFolder(), "model.bin");
    const entries = [
      { name: "m/data.pkl", content: oneTensor },
      { name: "m/data/0", content: floats(1, 2, 3) },
    ];
    writeZip(path, entries, { isZip64: true });
    expect([...openForTest(path).readFloat32("x")]).toEqual([1, 2, 3]);
  });

  test("refuses a compressed record", () => {
    const path = join(createFolder(), "model.bin");
    writeZip(path, [
      { name: "m/data.pkl", content: oneTensor },
      { name: "m/data/0", content: floats(1, 2, 3), method: 8 },
    ]);
    expect(() => openForTest(path)).toThrow(/record "m\/data\/0" is compressed/);
  });

  test("refuses an encrypted record", () => {
    const path = join(createFolder(), "model.bin");
    writeZip(path, [{ name: "m/data.pkl", content: oneTensor, flags: 1 }]);
    expect(() => openForTest(path)).toThrow(/record "m\/data.pkl" is encrypted/);
  });

  test("refuses big-endian storages and takes little-endian ones", () => {
    const order = (content: string) => [{ name: "archive/byteorder", content: Buffer.from(content) }];
    const storages = { 0: floats(1, 2, 3) };
    expect(() => openForTest(writeTorchZip(oneTensor, storages, order("big")))).toThrow(/byte order "big"/);
    expect([...openForTest(writeTorchZip(oneTensor, storages, order("little"))).readFloat32("x")]).toEqual([1, 2, 3]);
  });

  test("names the record that is missing", () => {
    expect(() => openForTest(writeTorchZip(oneTensor))).toThrow(/lacks record "archive\/data\/0"/);
  });

  test("refuses archives without a pickle, or with two", () => {
    const path = join(createFolder(), "model.bin");
    writeZip(path, [{ name: "photos/cat.png", content: ramp(3) }]);
    expect(() => openForTest(path)).toThrow(/no PyTorch checkpoint: it has no data.pkl/);
    const second = { name: "other/data.pkl", content: oneTensor };
    expect(() => openForTest(writeTorchZip(oneTensor, {}, [second]))).toThrow(/no PyTorch checkpoint/);
  });

  test("refuses two records of one name", () => {
    const twice = { name: "archive/data.pkl", content: oneTensor };
    expect(() => openForTest(writeTorchZip(oneTensor, {}, [twice]))).toThrow(/two records "archive\/data.pkl"/);
  });

  test.each<[string, number, number, RegExp]>([
    ["with two sizes", 12, 16, /record "archive\/data\/0" has two different sizes/],
    ["longer than the archive", 4096, 4096, /record "archive\/data\/0" does not fit/],
  ])("refuses a record %s", (_, compressedBytes, sizeBytes, message) => {
    const path = writeTorchZip(oneTensor, { 0: floats(1, 2, 3) });
    const bytes = readFileSync(path);
    const centralHeader = bytes.lastIndexOf("archive/data/0") - 46;
    bytes.writeUInt32LE(compressedBytes, centralHeader + 20);
    bytes.writeUInt32LE(sizeBytes, centralHeader + 24);
    writeFileSync(path, bytes);
    expect(() => openForTest(path)).toThrow(message);
  });

  test("refuses an archive whose directory and records disagree", () => {
    const path = writeTorchZip(oneTensor, { 0: floats(1, 2, 3) });
    const bytes = readFileSync(path);
    bytes.write("archive/data/9", bytes.indexOf("archive/data/0"), "latin1"); // the local header comes first
    writeFileSync(path, bytes);
    expect(() => openForTest(path)).toThrow(/record "archive\/data\/0" calls itself "archive\/data\/9"/);
  });
});

describe("the legacy format", () => {
  const storages = [{ key: "77", count: 3, bytes: floats(1, 2, 3) }];
  const top = new Map([["x", vector(3, "77")]]);

  test("reads storages behind the pickles", () => {
    expect([...openForTest(writeTorchLegacy(top, storages)).readFloat32("x")]).toEqual([1, 2, 3]);
  });

  test("refuses big-endian storages", () => {
    expect(() => openForTest(writeTorchLegacy(top, storages, false))).toThrow(/big-endian/);
  });

  test("refuses a storage whose length is not the one of its tensors", () => {
    const path = writeTorchLegacy(top, [{ key: "77", count: 4, bytes: ramp(4) }]);
    expect(() => openForTest(path)).toThrow(/storage "77" has 4 elements instead of 3/);
  });

  test("refuses one storage of two element types", () => {
    const other = tensorNode({ key: "77", storage: "IntStorage", storedCount: 3, shape: [3], strides: [1] });
    expect(() => openForTest(writeTorchLegacy(new Map([...top, ["y", other]]), storages))).toThrow(
      /refers to something outside that is no storage/,
    );
  });

  test("refuses missing and unknown storages", () => {
    expect(() => openForTest(writeTorchLegacy(top, []))).toThrow(/lacks storage "77"/);
    const unknown = { key: "5", count: 1, bytes: ramp(1) };
    expect(() => openForTest(writeTorchLegacy(top, [unknown]))).toThrow(/a storage that no tensor uses/);
  });

  test("refuses an unknown protocol version", () => {
    const path = createFile(Buffer.concat([pickle(0x1950a86a20f9469cfc6cn), pickle(1002)]));
    expect(() => openForTest(path)).toThrow(/unknown protocol version 1002/);
  });

  test("refuses a pickle that torch did not write", () => {
    expect(() => openForTest(createFile(pickle(new Map([["weights", 1.5]]))))).toThrow(
      /is a Python pickle, but no PyTorch/,
    );
  });
});

describe("names", () => {
  const path = (): string => {
    const top = new Map<Node, Node>([
      ["epoch", 3],
      [
        "model",
        new Map<Node, Node>([
          ["encoder.weight", vector(3)],
          ["sub", new Map([["bias", vector(3)]])],
        ]),
      ],
      ["optimizer", new Map([["state", new Map([[0, new Map([["step", vector(3)]])]])]])],
    ]);
    return writeTorchZip(pickle(top), { 0: floats(1, 2, 3) });
  };

  test("are dotted paths below the root", () => {
    expect(openForTest(path()).names).toEqual(["model.encoder.weight", "model.sub.bias", "optimizer.state.0.step"]);
    expect(openForTest(path(), "model").names).toEqual(["encoder.weight", "sub.bias"]);
    expect(openForTest(path(), "model.sub").names).toEqual(["bias"]);
    expect(openForTest(path(), "model").find("sub.bias")).toEqual({ name: "sub.bias", type: "F32", shape: [3] });
  });

  test("under a root that is absent give an error that says where the tensors are", () => {
    expect(() => openForTest(path(), "state_dict")).toThrow(/no tensors under "state_dict"; .* under model, optimizer/);
  });

  test("that are absent give undefined from find and an error from readFloat32", () => {
    const checkpoint = openForTest(path(), "model");
    expect(checkpoint.find("decoder.weight")).toBeUndefined();
    expect(checkpoint.find("__proto__")).toBeUndefined();
    expect(() => checkpoint.readFloat32("decoder.weight")).toThrow(/has no tensor "decoder.weight"/);
  });

  test("that two tensors would share are refused", () => {
    const top = new Map<Node, Node>([
      ["a.b", vector(3)],
      ["a", new Map([["b", vector(3)]])],
    ]);
    expect(() => openForTest(writeTorchZip(pickle(top), { 0: floats(1, 2, 3) }))).toThrow(/two tensors .* "a.b"/);
  });
});

describe("files that are no checkpoint", () => {
  test.each([
    ["an empty file", "", /is empty/],
    ["a Git LFS pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:1234\nsize 99\n", /Git LFS pointer/],
    ["an HTML page", "\n<!DOCTYPE html><html><body>Not found</body></html>", /HTML or XML page.*DOCTYPE/],
    ["a JSON error", '{"error":"Invalid credentials"}', /without a "weight_map".*Invalid credentials/],
    ["a plain text", "Access denied", /known format/],
    ["two letters", "PK", /known format/],
    ["an empty zip archive", `PK\x05\x06${"\0".repeat(18)}`, /no data.pkl/],
  ])("%s is told apart", (_, content, message) => {
    expect(() => openForTest(createFile(content))).toThrow(message);
  });

  test("a missing file and a folder are told apart", () => {
    const folder = createFolder();
    mkdirSync(join(folder, "model.bin"));
    expect(() => openForTest(join(folder, "absent.bin"))).toThrow(/absent.bin: cannot be opened \(ENOENT/);
    expect(() => openForTest(join(folder, "model.bin"))).toThrow(/is not a file/);
  });
});

describe("an open checkpoint", () => {
  test("cannot be read once it is closed, and can be closed twice", () => {
    const checkpoint = openForTest(writeTorchZip(oneTensor, { 0: floats(1, 2, 3) }));
    checkpoint.close();
    checkpoint.close();
    expect(() => checkpoint.readFloat32("x")).toThrow(/is closed already/);
  });

  test("tells when its file became shorter", () => {
    const path = writeTorchZip(oneTensor, { 0: floats(1, 2, 3) });
    const checkpoint = openForTest(path);
    truncateSync(path, 100);
    expect(() => checkpoint.readFloat32("x")).toThrow(/became shorter while it was read/);
  });
});
