import { copyFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { floats, safetensorsBytes, writeTorchZip } from "./checkpoint-writer.ts";
import { pickle, tensorNode } from "./pickle-writer.ts";
import { createFile, createFolder, openForTest } from "./temporary-folder.ts";

/** A folder with one shard of each format and an index of this weight map; the path of the index. */
function setup(weightMap: object): { index: string; folder: string } {
  const folder = createFolder();
  const node = tensorNode({ key: "0", storedCount: 2, shape: [2], strides: [1] });
  const torch = writeTorchZip(pickle(new Map([["m.a", node]])), { 0: floats(1, 2) });
  copyFileSync(torch, join(folder, "one.bin"));
  const header = { "m.b": { dtype: "F32", shape: [1], data_offsets: [0, 4] } };
  writeFileSync(join(folder, "two.safetensors"), safetensorsBytes(header, floats(3)));
  const index = join(folder, "model.index.json");
  writeFileSync(index, JSON.stringify({ metadata: { total_size: 12 }, weight_map: weightMap }));
  return { index, folder };
}

const WEIGHT_MAP = { "m.b": "two.safetensors", "m.a": "one.bin" };

test("reads the tensors of PyTorch and safetensors shards as one checkpoint", () => {
  const checkpoint = openForTest(setup(WEIGHT_MAP).index);
  expect(checkpoint.names).toEqual(["m.b", "m.a"]);
  expect(checkpoint.find("m.a")).toEqual({ name: "m.a", type: "F32", shape: [2] });
  expect(checkpoint.find("m.c")).toBeUndefined();
  expect([...checkpoint.readFloat32("m.a"), ...checkpoint.readFloat32("m.b")]).toEqual([1, 2, 3]);
  expect(() => checkpoint.readFloat32("m.c")).toThrow(/model.index.json: has no tensor "m.c"/);
});

test("takes the names below a root", () => {
  const checkpoint = openForTest(setup(WEIGHT_MAP).index, "m");
  expect(checkpoint.names).toEqual(["b", "a"]);
  expect(checkpoint.find("a")).toEqual({ name: "a", type: "F32", shape: [2] });
  expect([...checkpoint.readFloat32("a")]).toEqual([1, 2]);
});

test("opens a shard only when one of its tensors is asked for", () => {
  const { index, folder } = setup(WEIGHT_MAP);
  const checkpoint = openForTest(index);
  writeFileSync(join(folder, "two.safetensors"), "");
  expect([...checkpoint.readFloat32("m.a")]).toEqual([1, 2]);
  expect(() => checkpoint.readFloat32("m.b")).toThrow(/two.safetensors: is empty/);
});

test("closes its shards", () => {
  const checkpoint = openForTest(setup(WEIGHT_MAP).index);
  checkpoint.readFloat32("m.a");
  checkpoint.close();
  expect(() => checkpoint.readFloat32("m.a")).toThrow(/is closed already/);
});

test("names every shard that is missing when it is opened", () => {
  const { index, folder } = setup(WEIGHT_MAP);
  rmSync(join(folder, "one.bin"));
  rmSync(join(folder, "two.safetensors"));
  expect(() => openForTest(index)).toThrow(/not beside it: two.safetensors, one.bin/);
});

test("names the shard that lacks a tensor of the index", () => {
  const checkpoint = openForTest(setup({ ...WEIGHT_MAP, "m.c": "one.bin" }).index);
  expect(() => checkpoint.find("m.c")).toThrow(/one.bin: has no tensor "m.c"/);
  expect(() => checkpoint.readFloat32("m.c")).toThrow(/one.bin: has no tensor "m.c"/);
});

test.each([
  "../one.bin",
  "/etc/passwd",
  "sub/one.bin",
  "..\\one.bin",
  "C:one.bin",
  "..",
  ".",
  "",
  "one.bin\0",
  5,
  null,
])("refuses %j as the name of a shard", (file) => {
  expect(() => openForTest(setup({ "m.a": file }).index)).toThrow(/plain file names beside the index/);
});

test("refuses an index within an index", () => {
  const { index } = setup({ "m.a": "model.index.json" });
  const checkpoint = openForTest(index);
  expect(() => checkpoint.readFloat32("m.a")).toThrow(/the index lists it as a file of tensors/);
});

test("refuses an index that is damaged or lists nothing", () => {
  expect(() => openForTest(createFile('{"weight_map": {"a": "one'))).toThrow(/breaks off or is damaged/);
  expect(() => openForTest(createFile('{"weight_map": ["a"]}'))).toThrow(/without a "weight_map"/);
  expect(() => openForTest(createFile('{"weight_map": {}}'), "model")).toThrow(/no tensors at all/);
});

test("reads an index with a byte order mark", () => {
  const { index } = setup(WEIGHT_MAP);
  writeFileSync(index, `\ufeff${JSON.stringify({ weight_map: WEIGHT_MAP })}`);
  expect([...openForTest(index).readFloat32("m.b")]).toEqual([3]);
});
