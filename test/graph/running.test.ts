import { describe, expect, test } from "vitest";
import type { Value } from "../../inference/graph/graph-builder.ts";
import {
  add,
  gatherRows,
  gelu,
  joinedLinear,
  layerNorm,
  linear,
  multiply,
  partOfLinear,
  rmsNorm,
  silu,
  slice,
  splitLast,
} from "../../inference/graph/ops.ts";
import { createGraphFixture, spread, type TensorValues, tensorOf } from "./graph-fixture.ts";

/** fp32 sums of a few dozen products, compared with fp64 ones. */
const DIGITS = 4;

const [INPUTS, OUTPUTS] = [12, 10];
const X: TensorValues = { shape: [2, 3, INPUTS], values: spread(6 * INPUTS) };
const TENSORS: Readonly<Record<string, TensorValues>> = {
  "fc.weight": { shape: [OUTPUTS, INPUTS], values: spread(OUTPUTS * INPUTS).map((value) => value / 8) },
  "fc.bias": { shape: [OUTPUTS], values: spread(OUTPUTS) },
  "gate.weight": { shape: [4, INPUTS], values: spread(4 * INPUTS).map((value) => 1 - value) },
  "gate.bias": { shape: [4], values: [1, -2, 3, -4] },
  "norm.weight": { shape: [INPUTS], values: spread(INPUTS) },
  "norm.bias": { shape: [INPUTS], values: spread(INPUTS).map((value) => -value) },
};

/** A graph of one operation on X, run by ONNX Runtime. */
async function runOn(build: (g: ReturnType<ReturnType<typeof setup>["builder"]>, x: Value) => Value) {
  const { builder, run } = setup();
  const g = builder("operation");
  const x = g.input("x", "float32", ["batch", "n", INPUTS]);
  g.output("y", build(g, x), { type: "float32", dims: ["batch", "n", "width"] });
  return run(g.finish(), { x: tensorOf(X) });
}

const setup = () => createGraphFixture(TENSORS);

function expectRows(actual: TensorValues, expected: (row: readonly number[]) => readonly number[]): void {
  const rows = Array.from({ length: 6 }, (_, row) => expected(X.values.slice(row * INPUTS, (row + 1) * INPUTS)));
  expect(actual.shape).toEqual([2, 3, rows[0]!.length]);
  for (const [i, value] of rows.flat().entries()) expect(actual.values[i]).toBeCloseTo(value, DIGITS);
}

/** x W^T + bias of a layer in TENSORS. */
function layer(key: "fc" | "gate", row: readonly number[]): number[] {
  const [weight, bias] = [TENSORS[`${key}.weight`]!.values, TENSORS[`${key}.bias`]!.values];
  return bias.map((offset, out) => row.reduce((sum, x, i) => sum + x * weight[out * INPUTS + i]!, offset));
}

describe("ONNX Runtime computes", () => {
  test("a linear layer with the checkpoint's weight", async () => {
    const result = await runOn((g, x) => linear(g, "fc", x, [INPUTS, OUTPUTS]));
    expectRows(result, (row) => layer("fc", row));
  });

  test("joined layers side by side, with a constant in the bias", async () => {
    const addToBias = Float32Array.from(spread(OUTPUTS + 4));
    const result = await runOn((g, x) =>
      joinedLinear(g, x, { inputs: INPUTS, parts: { gate: 4, fc: OUTPUTS }, addToBias }),
    );
    expectRows(result, (row) => [...layer("gate", row), ...layer("fc", row)].map((y, i) => y + addToBias[i]!));
  });

  test("some outputs of a layer as a layer of their own", async () => {
    const result = await runOn((g, x) => partOfLinear(g, "fc", x, { inputs: INPUTS, total: OUTPUTS, from: 3, to: 7 }));
    expectRows(result, (row) => layer("fc", row).slice(3, 7));
  });

  test("LayerNorm and RMSNorm with their eps", async () => {
    const eps = 0.5;
    const [weight, bias] = [TENSORS["norm.weight"]!.values, TENSORS["norm.bias"]!.values];
    const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
    const options = { width: INPUTS, eps };
    expectRows(await runOn((g, x) => g.scope("norm", () => layerNorm(g, x, options))), (row) => {
      const centre = mean(row);
      const deviation = Math.sqrt(mean(row.map((x) => (x - centre) ** 2)) + eps);
      return row.map((x, i) => ((x - centre) / deviation) * weight[i]! + bias[i]!);
    });
    expectRows(await runOn((g, x) => g.scope("norm", () => rmsNorm(g, x, options))), (row) => {
      const deviation = Math.sqrt(mean(row.map((x) => x * x)) + eps);
      return row.map((x, i) => (x / deviation) * weight[i]!);
    });
  });

  test("SiLU and the exact GELU", async () => {
    expectRows(await runOn(silu), (row) => row.map((x) => x / (1 + Math.exp(-x))));
    const { builder, run } = setup();
    const g = builder("gelu");
    g.output("y", gelu(g, g.input("x", "float32", ["n"])), { type: "float32", dims: ["n"] });
    const { values } = await run(g.finish(), { x: tensorOf({ shape: [3], values: [1, -1, 2] }) });
    // x * Phi(x); the tanh approximation gives 0.841192 for the first.
    for (const [i, value] of [0.8413447, -0.1586553, 1.9544997].entries()) expect(values[i]).toBeCloseTo(value, 6);
  });

  test("slices and parts of the last axis", async () => {
    const sliced = await runOn((g, x) => slice(g, x, { axis: 2, start: g.int(-5), end: g.int(-2) }));
    expectRows(sliced, (row) => row.slice(-5, -2));
    const part = await runOn((g, x) => splitLast(g, x, [5, 4, 3])[1]!);
    expectRows(part, (row) => row.slice(5, 9));
  });

  test("rows picked for each batch row by itself", async () => {
    const { builder, run } = setup();
    const g = builder("rows");
    const x = g.input("x", "float32", ["batch", "n", INPUTS]);
    const indices = g.op("Cast", [g.input("indices", "float32", ["batch", "k"])], { to: 7 });
    g.output("y", gatherRows(g, x, indices), { type: "float32", dims: ["batch", "k", INPUTS] });
    const feeds = { x: tensorOf(X), indices: tensorOf({ shape: [2, 2], values: [2, 0, 1, 1] }) };
    const row = (batch: number, index: number): number[] =>
      X.values.slice((3 * batch + index) * INPUTS, (3 * batch + index + 1) * INPUTS);
    expect(await run(g.finish(), feeds)).toEqual({
      shape: [2, 2, INPUTS],
      values: [row(0, 2), row(0, 0), row(1, 1), row(1, 1)].flat(),
    });
  });
});

describe("a graph", () => {
  test("reads its weights from the file that it shares with others", async () => {
    const { builder, run } = setup();
    const results = [];
    for (const name of ["first", "second"]) {
      const g = builder(name);
      const x = g.input("x", "float32", ["batch", "n", INPUTS]);
      g.output("y", linear(g, "fc", x, [INPUTS, OUTPUTS]), { type: "float32", dims: ["batch", "n", OUTPUTS] });
      results.push(await run(g.finish(), { x: tensorOf(X) }));
    }
    expect(results[1]).toEqual(results[0]);
  });

  test("repeats a loop body that uses parameters and constants of the graph around it", async () => {
    const { builder, run } = setup();
    const g = builder("loop");
    const start = g.input("start", "float32", [INPUTS]);
    const body = g.body("step");
    body.input("step", "int64", []);
    const keepGoing = body.input("keep_going", "bool", []);
    const x = body.input("x_in", "float32", [INPUTS]);
    // "norm.weight" is known to the outer graph first, "norm.bias" to the body only.
    const scaled = multiply(g, start, g.parameter("norm.weight", [INPUTS]));
    const halved = multiply(body, x, body.float(0.5));
    const next = add(
      body,
      add(body, halved, body.parameter("norm.weight", [INPUTS])),
      body.parameter("norm.bias", [INPUTS]),
    );
    body.output("keep_going_out", keepGoing, { type: "bool", dims: [] });
    body.output("x_next", next, { type: "float32", dims: [INPUTS] });
    const result = g.op("Loop", [g.int(3), g.bool(true), scaled], { body: body.finish() });
    g.output("y", result, { type: "float32", dims: [INPUTS] });
    const { values } = await run(g.finish(), { start: tensorOf({ shape: [INPUTS], values: spread(INPUTS) }) });
    // The two parameters are opposites: each of three rounds just halves.
    const weight = TENSORS["norm.weight"]!.values;
    for (const [i, value] of values.entries()) expect(value).toBeCloseTo((weight[i]! * weight[i]!) / 8, DIGITS);
  });
});
