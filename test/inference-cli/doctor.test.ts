import { join } from "node:path";
import { expect, inject, test } from "vitest";
import { changeTensors, copyPreset } from "../model/own-checkpoint.ts";
import { runCommand } from "./command.ts";

const WEIGHT = "llm.model.layers.0.mlp.down_proj.weight";

/** The tiny preset, with one weight of its language model set to `value` throughout. */
async function setup(value: number) {
  const { checkpoint, build, out, results } = copyPreset();
  changeTensors(join(checkpoint, "pytorch_model.bin"), (tensors) => tensors.get(WEIGHT)!.values.fill(value));
  await build();
  return { out, results };
}

test("doctor looks at the machine and at every graph of a model", async () => {
  const { code, output } = await runCommand("doctor", "--model", join(inject("templateData"), "models/tiny"));
  expect(output).toMatch(/^ok {3}node {6}v\d+/m);
  expect(output).toMatch(/^ok {3}cpu {7}computes$/m);
  expect(output).toMatch(/^(ok|note) +cuda +\S/m);
  expect(output).toMatch(/^ok {3}model {5}tiny, float32: \d{3,} tensors of 10 graphs are finite/m);
  expect(code).toBe(0);
});

test("doctor names the tensor that is not finite, and leaves nothing beside the model", async () => {
  const { out, results } = await setup(3e38);
  const { code, output } = await runCommand("doctor", "--model", out);
  expect(output).toMatch(
    /^FAIL model {5}In the graph llm, tensor \/llm\.model\.layers\.0\/mlp\/MatMul\S*, a number is (-?Infinity|NaN)\./m,
  );
  expect(code).toBe(1);
  expect(results()).toEqual(["model"]);
});

test("doctor fails on a folder that is no model", async () => {
  const { code, output } = await runCommand("doctor", "--model", "test");
  expect(output).toMatch(/^FAIL model {5}test is not a built model: it has no manifest\.json\./m);
  expect(code).toBe(1);
});
