import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import type { OnnxTensor } from "../../inference/graph/onnx-model.ts";
import { WeightsFile } from "../../inference/graph/weights-file.ts";
import { createGraphFixture, fileSize, spread } from "./graph-fixture.ts";

const LARGE = spread(1500);
const MEDIUM = spread(100);

/** A checkpoint with a tensor above a page, one below, and one small enough for the graph itself. */
const setup = () =>
  createGraphFixture({
    large: { shape: [30, 50], values: LARGE },
    medium: { shape: [100], values: MEDIUM },
    small: { shape: [64], values: spread(64) },
  });

const placeOf = ({ content }: OnnxTensor) => {
  if (content instanceof Uint8Array) throw new Error("stored inside the graph");
  return content;
};

describe("a parameter", () => {
  test("of more than 64 values lies in the weights file, as the checkpoint has it", () => {
    const { builder, weightsPath } = setup();
    const g = builder("one");
    g.parameter("medium", [100]);
    const { file, offset, length } = placeOf(g.finish().initializers[0]!);
    expect(file).toBe("weights.bin");
    const bytes = readFileSync(weightsPath).subarray(offset, offset + length);
    expect([...new Float32Array(new Uint8Array(bytes).buffer)]).toEqual(MEDIUM);
  });

  test("of at most 64 values lies in the graph", () => {
    const { builder, weights } = setup();
    const g = builder("one");
    g.parameter("small", [64]);
    const [small] = g.finish().initializers;
    expect([...new Float32Array((small!.content as Uint8Array).slice().buffer)]).toEqual(spread(64));
    expect(weights.sizeBytes).toBe(0);
  });

  test("used by two graphs is stored once", () => {
    const { builder, weights } = setup();
    const [first, second] = [builder("first"), builder("second")];
    first.parameter("large", [30, 50]);
    const size = weights.sizeBytes;
    second.parameter("large", [30, 50]);
    expect(weights.sizeBytes).toBe(size);
    expect(placeOf(second.finish().initializers[0]!)).toEqual(placeOf(first.finish().initializers[0]!));
  });

  test("used twice by one graph is one initializer", () => {
    const { builder } = setup();
    const g = builder("one");
    expect(g.parameter("large", [30, 50])).toEqual(g.parameter("large", [30, 50]));
    expect(g.finish().initializers).toHaveLength(1);
  });

  test("used by a loop's body belongs to the graph around it", () => {
    const { builder } = setup();
    const g = builder("outer");
    const body = g.body("inner");
    body.parameter("large", [30, 50]);
    body.float(0.5);
    expect(body.finish().initializers).toEqual([]);
    expect(g.finish().initializers.map(({ name }) => name)).toEqual(["large", "constant:float32[]:0000003f"]);
  });
});

test("constants lie in the graph, equal ones once", () => {
  const { builder, weights } = setup();
  const g = builder("one");
  const constants = [g.float(1), g.float([1]), g.int(1), g.int([1, 2]), g.bool(true), g.float(1), g.int([1, 2])];
  const { initializers } = g.finish();
  expect(initializers).toHaveLength(5);
  expect(new Set(constants.map(({ name }) => name)).size).toBe(5);
  expect(initializers.every(({ content }) => content instanceof Uint8Array)).toBe(true);
  expect(initializers.map(({ type, dims }) => [type, dims])).toEqual([
    ["float32", []],
    ["float32", [1]],
    ["int64", []],
    ["int64", [2]],
    ["bool", []],
  ]);
  expect(weights.sizeBytes).toBe(0);
});

describe("the weights file", () => {
  test("has tensors of a page and more at page borders, smaller ones at multiples of 64", () => {
    const { weights, weightsPath } = setup();
    const sizes = [100, 1024, 3, 1023, 5000, 16];
    const places = sizes.map((size, index) => weights.place(`t${index}`, () => new Float32Array(size).fill(index + 1)));
    let end = 0;
    for (const [index, { offset, length }] of places.entries()) {
      expect(length).toBe(4 * sizes[index]!);
      expect(offset % (length >= 4096 ? 4096 : 64)).toBe(0);
      expect(offset).toBeGreaterThanOrEqual(end);
      end = offset + length;
    }
    expect([weights.sizeBytes, fileSize(weightsPath)]).toEqual([end, end]);
    const bytes = readFileSync(weightsPath);
    for (const [index, { offset, length }] of places.entries()) {
      expect(bytes.readFloatLE(offset)).toBe(index + 1);
      expect(bytes.readFloatLE(offset + length - 4)).toBe(index + 1);
    }
  });

  test("reads the values of a key once", () => {
    const { weights } = setup();
    let reads = 0;
    const read = () => new Float32Array(10 + reads++);
    expect(weights.place("key", read)).toEqual(weights.place("key", read));
    expect(reads).toBe(1);
  });

  test("never overwrites a file that is there", () => {
    const { weightsPath } = setup();
    expect(() => new WeightsFile(weightsPath, "weights.bin")).toThrow("EEXIST");
  });
});
