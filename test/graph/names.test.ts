import { expect, test } from "vitest";
import { add, linear, multiply } from "../../inference/graph/ops.ts";
import { createGraphFixture, spread } from "./graph-fixture.ts";

/** A checkpoint with one layer, two levels deep. */
function setup() {
  const fixture = createGraphFixture({
    "layers.0.attn.q_proj.weight": { shape: [3, 2], values: spread(6) },
    "layers.0.attn.q_proj.bias": { shape: [3], values: spread(3) },
    scale: { shape: [2], values: [1, 2] },
  });
  const g = fixture.builder("names");
  return { ...fixture, g, x: g.input("x", "float32", ["rows", 2]) };
}

test("scopes stand in front of parameter keys and node names", () => {
  const { g, x } = setup();
  g.scope("layers.0", () => g.scope("attn", () => linear(g, "q_proj", x, [2, 3])));
  expect(g.nodes.map(({ name }) => name)).toEqual(["/layers.0/attn/MatMul", "/layers.0/attn/Add"]);
  expect(g.finish().initializers.map(({ name }) => name)).toEqual([
    "layers.0.attn.q_proj.weight^T",
    "layers.0.attn.q_proj.bias",
  ]);
});

test("outside every scope a key is the checkpoint's own", () => {
  const { g, x } = setup();
  multiply(g, x, g.parameter("scale", [2]));
  expect(g.nodes[0]).toMatchObject({ name: "/Mul", inputs: ["x", "scale"], outputs: ["/Mul:0"] });
});

test("a scope ends where its function ends, also when that throws", () => {
  const { g, x } = setup();
  expect(() =>
    g.scope("broken", () => {
      throw new Error("as the test says");
    }),
  ).toThrow("as the test says");
  multiply(g, x, g.parameter("scale", [2]));
  expect(g.nodes[0]?.name).toBe("/Mul");
});

test("equal operations in one scope get names of their own", () => {
  const { g, x } = setup();
  const sum = g.scope("block", () => add(g, add(g, x, x), x));
  g.scope("other", () => add(g, sum, x));
  expect(g.nodes.map(({ name }) => name)).toEqual(["/block/Add", "/block/Add_2", "/other/Add"]);
});

test("the body of a loop goes on in the scope, under the body's name", () => {
  const { g } = setup();
  const body = g.scope("layers.0", () => g.body("step"));
  const x = body.input("x_in", "float32", [2]);
  body.scope("attn", () => linear(body, "q_proj", x, [2, 3]));
  expect(body.nodes.map(({ name }) => name)).toEqual(["step:/layers.0/attn/MatMul", "step:/layers.0/attn/Add"]);
  expect(body.nodes[0]?.inputs).toContain("layers.0.attn.q_proj.weight^T");
});

test("a parameter that the checkpoint lacks is named by its whole key", () => {
  const { g } = setup();
  expect(() => g.scope("layers.1", () => g.parameter("norm.weight", [2]))).toThrow(
    'Tensor "layers.1.norm.weight" is missing',
  );
});
