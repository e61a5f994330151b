import { expect, test } from "vitest";
import { CheckpointError } from "../../inference/checkpoint/checkpoint.ts";
import { floats, ramp, writeTorchLegacy, writeTorchZip } from "./checkpoint-writer.ts";
import { type Node, pickle, type TensorSpec, tensorNode } from "./pickle-writer.ts";
import { openForTest, readAll } from "./temporary-folder.ts";

/** A zip checkpoint with the tensor "x" of 24 elements 0, 1, 2, ...; its path. */
function writeView(view: Partial<TensorSpec>): string {
  const spec = { key: "0", storedCount: 24, shape: [24], strides: [1], ...view };
  return writeTorchZip(pickle(new Map([["x", tensorNode(spec)]])), { 0: ramp(24) });
}

const readView = (view: Partial<TensorSpec>): number[] => [...openForTest(writeView(view)).readFloat32("x")];

test("reads a contiguous view from the middle of its storage", () => {
  expect(readView({ offset: 5, shape: [2, 3], strides: [3, 1] })).toEqual([5, 6, 7, 8, 9, 10]);
});

test("reads transposed and permuted tensors in row-major order", () => {
  expect(readView({ shape: [3, 2], strides: [1, 3] })).toEqual([0, 3, 1, 4, 2, 5]);
  expect(readView({ shape: [2, 2, 3], strides: [1, 6, 2] })).toEqual([0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11]);
});

test("reads every second column of a matrix", () => {
  expect(readView({ offset: 1, shape: [3, 2], strides: [4, 2] })).toEqual([1, 3, 5, 7, 9, 11]);
});

test("repeats the elements of an expanded tensor", () => {
  expect(readView({ offset: 2, shape: [3, 2], strides: [0, 1] })).toEqual([2, 3, 2, 3, 2, 3]);
  expect(readView({ offset: 4, shape: [3], strides: [0] })).toEqual([4, 4, 4]);
});

test("ignores the strides of dimensions of size 1", () => {
  expect(readView({ shape: [1, 3, 1], strides: [9999, 1, 77] })).toEqual([0, 1, 2]);
});

test("reads tensors without dimensions and without elements", () => {
  expect(readView({ offset: 23, shape: [], strides: [] })).toEqual([23]);
  expect(readView({ offset: 24, shape: [0, 3], strides: [3, 1] })).toEqual([]);
  expect(readView({ shape: [5, 0, 2 ** 40], strides: [1, 1, 1] })).toEqual([]);
});

test("reads tensors that take more than one read of the file", () => {
  const count = 2 ** 24 + 3; // 64 MiB, the most that is read at once, and 12 bytes
  const bytes = Buffer.alloc(count * 4);
  const marks = [0, 2 ** 24 - 1, 2 ** 24, count - 1];
  for (const at of marks) bytes.writeFloatLE(at % 1000, at * 4);
  const node = tensorNode({ key: "0", storedCount: count, shape: [count], strides: [1] });
  const values = openForTest(writeTorchZip(pickle(new Map([["x", node]])), { 0: bytes })).readFloat32("x");
  expect(marks.map((at) => values[at])).toEqual(marks.map((at) => at % 1000));
});

test("reads strided views of half-precision storages", () => {
  const halves = Buffer.from(Uint16Array.of(0x3f80, 0x4000, 0x4040, 0x4080).buffer);
  const node = tensorNode({ key: "k", storage: "BFloat16Storage", storedCount: 4, shape: [2, 2], strides: [1, 2] });
  expect([...openForTest(writeTorchZip(pickle(new Map([["x", node]])), { k: halves })).readFloat32("x")]).toEqual([
    1, 3, 2, 4,
  ]);
});

test("reads the same bytes under every name of a shared storage", () => {
  const whole = tensorNode({ key: "0", storedCount: 4, shape: [4], strides: [1] });
  const part = tensorNode({ key: "0", storedCount: 4, offset: 2, shape: [2], strides: [1] });
  const top = new Map([
    ["embedding", whole],
    ["head", whole],
    ["tail", part],
  ]);
  const all = readAll(writeTorchZip(pickle(top), { 0: floats(1, 2, 3, 4) }));
  expect(all.get("head")).toEqual(all.get("embedding"));
  expect([...(all.get("tail") ?? [])]).toEqual([3, 4]);
});

test.each<[string, Partial<TensorSpec>]>([
  ["elements", { offset: 20, shape: [5], strides: [1] }],
  ["rows", { shape: [3, 2], strides: [12, 1] }],
  ["elements of an impossible number", { shape: [2 ** 50, 2 ** 50], strides: [1, 1] }],
  ["elements of an impossible stride", { shape: [2, 2], strides: [2 ** 52, 2 ** 52] }],
])("refuses a tensor with %s beyond its storage, by name", (_, view) => {
  expect(() => openForTest(writeView(view))).toThrow(/tensor "x" needs elements \d+ to .* of a storage that has 24/);
});

test("refuses a storage that is shorter than its tensors say", () => {
  const path = writeView({ storedCount: 25, shape: [25], strides: [1] });
  expect(() => openForTest(path)).toThrow(/record "archive\/data\/0" has 96 bytes instead of 100/);
});

test("refuses to blow up a few elements to gigabytes", () => {
  const path = writeView({ shape: [2 ** 20, 2 ** 20], strides: [0, 0] });
  expect(() => openForTest(path).readFloat32("x")).toThrow(/tensor "x" repeats 1 stored elements/);
});

test.each<[string, Partial<TensorSpec>]>([
  ["negative sizes", { shape: [-1], strides: [1] }],
  ["negative offsets", { offset: -4, shape: [1], strides: [1] }],
  ["negative strides", { offset: 8, shape: [2], strides: [-1] }],
  ["fractional sizes", { shape: [1.5], strides: [1] }],
  ["fewer strides than sizes", { shape: [1, 1], strides: [1] }],
  ["more than 64 dimensions", { shape: Array(65).fill(1), strides: Array(65).fill(1) }],
])("refuses tensors with %s", (_, view) => {
  expect(() => openForTest(writeView(view))).toThrow(CheckpointError);
});

test("reads views of legacy storages", () => {
  const view: Node = ["7.view", 2, 3]; // elements 2 to 4 of storage 7
  const top = new Map([
    ["all", tensorNode({ key: "7", storedCount: 6, shape: [6], strides: [1], view: null })],
    ["part", tensorNode({ key: "7", storedCount: 6, offset: 1, shape: [2], strides: [1], view })],
  ]);
  const all = readAll(writeTorchLegacy(top, [{ key: "7", count: 6, bytes: ramp(6) }]));
  expect([...(all.get("all") ?? [])]).toEqual([0, 1, 2, 3, 4, 5]);
  expect([...(all.get("part") ?? [])]).toEqual([3, 4]);
});

test("refuses a legacy view beyond its storage", () => {
  const spec = { key: "7", storedCount: 6, shape: [1], strides: [1], view: ["7.view", 4, 3] };
  const path = writeTorchLegacy(new Map([["x", tensorNode(spec)]]), [{ key: "7", count: 6, bytes: ramp(6) }]);
  expect(() => openForTest(path)).toThrow(/refers to something outside/);
});

test("refuses a tensor beyond its legacy view", () => {
  const spec = { key: "7", storedCount: 6, shape: [4], strides: [1], view: ["7.view", 2, 3] };
  const path = writeTorchLegacy(new Map([["x", tensorNode(spec)]]), [{ key: "7", count: 6, bytes: ramp(6) }]);
  expect(() => openForTest(path)).toThrow(/tensor "x" needs elements 0 to 4 of a storage that has 3/);
});
