import { expect, test } from "vitest";
import { floats, int64, safetensorsBytes, writeSafetensors } from "./checkpoint-writer.ts";
import { createFile, openForTest } from "./temporary-folder.ts";

const f32 = (shape: number[], data_offsets: number[]) => ({ dtype: "F32", shape, data_offsets });

test("reads tensors in the order of their bytes and ignores the metadata", () => {
  const header = { __metadata__: { format: "pt" }, second: f32([1], [8, 12]), first: f32([2, 1], [0, 8]) };
  const checkpoint = openForTest(writeSafetensors(header, floats(1, 2, 3)));
  expect(checkpoint.names).toEqual(["first", "second"]);
  expect(checkpoint.find("first")).toEqual({ name: "first", type: "F32", shape: [2, 1] });
  expect([...checkpoint.readFloat32("first")]).toEqual([1, 2]);
  expect([...checkpoint.readFloat32("second")]).toEqual([3]);
});

test("reads scalars, empty tensors and strange names", () => {
  const header =
    '{"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"__proto__":{"dtype":"F32","shape":[0,2],"data_offsets":[4,4]}} ';
  const checkpoint = openForTest(writeSafetensors(header, floats(7)));
  expect([...checkpoint.readFloat32("s")]).toEqual([7]);
  expect([...checkpoint.readFloat32("__proto__")]).toEqual([]);
});

test("takes the names below a root", () => {
  const header = { "model.a": f32([1], [0, 4]), "other.b": f32([1], [4, 8]) };
  const checkpoint = openForTest(writeSafetensors(header, floats(1, 2)), "model");
  expect(checkpoint.names).toEqual(["a"]);
  expect(checkpoint.find("a")?.name).toBe("a");
});

test("is recognised whatever its header length looks like", () => {
  // 60 is "<" of a page, 123 is "{" of a JSON text, 128 is the first byte of a pickle, 8827 is '{"'
  for (const length of [60, 123, 128, 8827]) {
    const header = JSON.stringify({ x: f32([1], [0, 4]) }).padEnd(length);
    expect([...openForTest(writeSafetensors(header, floats(5))).readFloat32("x")]).toEqual([5]);
  }
});

test.each<[string, object | string, RegExp]>([
  ["overlapping tensors", { a: f32([2], [0, 8]), b: f32([2], [4, 12]) }, /tensor "b" overlaps/],
  ["a gap between tensors", { a: f32([1], [0, 4]), b: f32([1], [8, 12]) }, /gap before tensor "b"/],
  ["bytes after the last tensor", { a: f32([2], [0, 8]) }, /4 bytes after its last tensor/],
  ["a tensor beyond the end", { a: f32([4], [0, 16]) }, /tensor "a" ends at byte 16 of the data, which has 12/],
  ["a shape that does not fit its bytes", { a: f32([2, 2], [0, 12]) }, /tensor "a" of shape \[2, 2\].* needs 16 bytes/],
  ["a shape too large to multiply", { a: f32([2 ** 50, 2 ** 50, 2 ** 50], [0, 12]) }, /tensor "a" of shape/],
  ["offsets in the wrong order", { a: f32([3], [12, 0]) }, /tensor "a" of shape/],
  ["one offset", { a: f32([0], [0]) }, /tensor "a" of shape/],
  ["a negative offset", { a: f32([3], [-12, 0]) }, /no proper dtype, shape or data_offsets/],
  ["a fractional size", { a: f32([1.5], [0, 6]) }, /no proper dtype, shape or data_offsets/],
  ["a tensor that is no object", { a: 5 }, /no proper dtype, shape or data_offsets/],
  [
    "an unsupported dtype",
    { a: { dtype: "F8_E4M3", shape: [12], data_offsets: [0, 12] } },
    /has dtype F8_E4M3; supported are/,
  ],
  ["an inherited name as dtype", { a: { dtype: "toString", shape: [], data_offsets: [0, 12] } }, /has dtype toString/],
  ["a header that is no JSON", "{'a': 1}", /header that is no JSON/],
])("refuses %s", (_, header, message) => {
  expect(() => openForTest(writeSafetensors(header, floats(1, 2, 3)))).toThrow(message);
});

test("refuses a header that is no UTF-8", () => {
  const bytes = safetensorsBytes({ name: f32([1], [0, 4]) }, floats(1));
  bytes[bytes.indexOf("name")] = 0xff;
  expect(() => openForTest(createFile(bytes))).toThrow(/header that is no JSON/);
});

test("refuses headers of more than 100 MB and those longer than the file", () => {
  expect(() => openForTest(createFile(Buffer.concat([int64(100_000_001), Buffer.from("{}")])))).toThrow(
    /header of 100000001 bytes/,
  );
  expect(() => openForTest(createFile(Buffer.concat([int64(2n ** 63n), Buffer.from("{}")])))).toThrow(
    /header of 9223372036854775808 bytes/,
  );
  expect(() => openForTest(createFile(Buffer.concat([int64(3), Buffer.from("{}")])))).toThrow(/truncated/);
});
