import { expect, test } from "vitest";
import { writeSafetensors } from "./checkpoint-writer.ts";
import { openForTest } from "./temporary-folder.ts";

/** One tensor "x" of these little-endian elements, read back. */
function read(dtype: string, elements: ArrayBufferView<ArrayBuffer> & { length: number }): number[] {
  const bytes = new Uint8Array(elements.buffer);
  const header = { x: { dtype, shape: [elements.length], data_offsets: [0, bytes.length] } };
  return [...openForTest(writeSafetensors(header, bytes)).readFloat32("x")];
}

test("converts f16 exactly, with subnormals, signed zeros and infinities", () => {
  const halves = [0x0000, 0x8000, 0x0001, 0x83ff, 0x0400, 0x3c00, 0x3555, 0xc000, 0x7bff, 0x7c00, 0xfc00, 0x7e00];
  expect(read("F16", Uint16Array.from(halves))).toEqual([
    0,
    -0,
    2 ** -24,
    -1023 * 2 ** -24,
    2 ** -14,
    1,
    0.333251953125,
    -2,
    65504,
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
    Number.NaN,
  ]);
});

test("converts bf16 exactly, with subnormals, signed zeros and infinities", () => {
  const halves = [0x0000, 0x8000, 0x0001, 0x3f80, 0xc049, 0x7f7f, 0x7f80, 0xff80, 0x7fc0];
  expect(read("BF16", Uint16Array.from(halves))).toEqual([
    0,
    -0,
    2 ** -133,
    1,
    -3.140625,
    255 * 2 ** 120,
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
    Number.NaN,
  ]);
});

test("rounds f64 to the nearest fp32", () => {
  expect(read("F64", Float64Array.of(0.1, -1 / 3, 1e300))).toEqual([
    Math.fround(0.1),
    Math.fround(-1 / 3),
    Number.POSITIVE_INFINITY,
  ]);
});

test("gives integers of every width as numbers", () => {
  expect(read("I64", BigInt64Array.of(0n, -1n, 2n ** 40n, -(2n ** 62n)))).toEqual([0, -1, 2 ** 40, -(2 ** 62)]);
  expect(read("I32", Int32Array.of(7, -(2 ** 31)))).toEqual([7, -(2 ** 31)]);
  expect(read("I16", Int16Array.of(-32768, 32767))).toEqual([-32768, 32767]);
  expect(read("I8", Int8Array.of(-128, 127))).toEqual([-128, 127]);
  expect(read("U8", Uint8Array.of(0, 255))).toEqual([0, 255]);
});

test("gives booleans as 0 and 1", () => {
  expect(read("BOOL", Uint8Array.of(0, 1, 2))).toEqual([0, 1, 1]);
});

test("converts tensors that are longer than the conversion buffer", () => {
  const count = 700_001; // two chunks of 512 KiB and a rest
  const values = read(
    "BF16",
    Uint16Array.from({ length: count }, (_, i) => 0x3f80 + (i % 7)),
  );
  const wrong = values.findIndex((value, i) => value !== 1 + (i % 7) / 128);
  expect([values.length, wrong]).toEqual([count, -1]);
});
