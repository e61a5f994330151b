import { describe, expect, test } from "vitest";
import type { MatrixFormat } from "../../inference/graph/number-formats.ts";
import type { OnnxGraph } from "../../inference/graph/onnx-model.ts";
import { joinedLinear } from "../../inference/graph/ops.ts";
import { inHalfPrecision } from "../support/half-precision.ts";
import { createGraphFixture, tensorOf } from "./graph-fixture.ts";

const INPUTS = 96;
const OUTPUTS = 40;

/** Values without pattern between -1 and 1. */
const noise = (count: number, seed: number): number[] =>
  Array.from({ length: count }, (_, i) => Math.fround((((i + 1) * (seed * 2654435761 + 40503)) % 65537) / 32768 - 1));

const X = noise(4 * INPUTS, 3);

interface Product {
  readonly scale?: number;
  readonly takesLargeInput?: boolean;
  /** Computes in fp16 where the graph says so; the CPU provider computes in fp32. */
  readonly asHalf?: boolean;
}

/** x times a weight [OUTPUTS, INPUTS] that is `scale` times some noise, in the given format. */
async function multiply(format: MatrixFormat, x: readonly number[], product: Product = {}): Promise<number[]> {
  const { scale = 1, takesLargeInput = false, asHalf = false } = product;
  const values = noise(INPUTS * OUTPUTS, 5).map((value) => value * scale);
  const { builder, run } = createGraphFixture({ "layer.weight": { shape: [OUTPUTS, INPUTS], values } });
  const g = builder("product", () => format);
  const input = g.input("x", "float32", [1, "rows", INPUTS]);
  const y = joinedLinear(g, input, { inputs: INPUTS, parts: { layer: OUTPUTS }, bias: false, takesLargeInput });
  g.output("y", y, { type: "float32", dims: [1, "rows", OUTPUTS] });
  const graph: OnnxGraph = g.finish();
  const shape = [1, x.length / INPUTS, INPUTS];
  const feeds = { x: tensorOf({ shape, values: x }) };
  const result = asHalf ? await run(inHalfPrecision(graph), feeds, "disabled") : await run(graph, feeds);
  return [...result.values];
}

/** Root mean square of the difference, relative to that of the expected values. */
function relativeError(actual: readonly number[], expected: readonly number[]): number {
  const squares = (values: readonly number[]): number => values.reduce((sum, value) => sum + value * value, 0);
  return Math.sqrt(squares(actual.map((value, i) => value - expected[i]!)) / squares(expected));
}

/** The rounding of weights (uniformly distributed) and inputs in each format, with a margin of about two. */
test.each([
  ["int8", 2e-2],
  ["float16", 1e-3],
  ["bfloat16", 4e-3],
] as const)("a product in %s differs from the one in float32 by at most %d", async (format, limit) => {
  const error = relativeError(await multiply(format, X), await multiply("float32", X));
  expect(error).toBeGreaterThan(0);
  expect(error).toBeLessThan(limit);
});

describe("a product in int8", () => {
  test("gives a row the same numbers whatever stands beside it", async () => {
    const alone = await multiply("int8", X.slice(0, INPUTS));
    const large = X.slice(INPUTS).map((value) => value * 1000);
    expect((await multiply("int8", [...X.slice(0, INPUTS), ...large])).slice(0, OUTPUTS)).toEqual(alone);
  });

  test("gives zeros for a row of zeros", async () => {
    const zeros = new Array<number>(INPUTS).fill(0);
    expect((await multiply("int8", [...X, ...zeros])).slice(4 * OUTPUTS).every((value) => value === 0)).toBe(true);
  });

  test.each([Number.NaN, Number.POSITIVE_INFINITY])("does not hide a row of %d", async (value) => {
    const product = await multiply("int8", new Array<number>(INPUTS).fill(value));
    expect(product.some(Number.isFinite)).toBe(false);
  });
});

describe("a product in fp16 that is computed in fp16", () => {
  test("is as near as one with rounded weights", async () => {
    expect(relativeError(await multiply("float16", X, { asHalf: true }), await multiply("float32", X))).toBeLessThan(
      2e-3,
    );
  });

  test("does not overflow where the result, or even a weight, is beyond fp16", async () => {
    const product = { scale: 1e7 };
    const expected = await multiply("float32", X, product);
    expect(Math.max(...expected)).toBeGreaterThan(65504);
    expect(relativeError(await multiply("float16", X, { ...product, asHalf: true }), expected)).toBeLessThan(2e-3);
  });

  test("does not overflow with inputs beyond fp16, where they are announced", async () => {
    const x = X.map((value) => value * 2.6e5);
    const expected = await multiply("float32", x);
    const product = { takesLargeInput: true, asHalf: true };
    expect(relativeError(await multiply("float16", x, product), expected)).toBeLessThan(2e-3);
  });
});
