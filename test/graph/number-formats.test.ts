import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { expect, test } from "vitest";
import { quantizeColumns, toBfloat16, toFloat16 } from "../../inference/graph/number-formats.ts";
import { encodeModel, FLOAT16 } from "../../inference/graph/onnx-model.ts";
import { createFolder } from "../checkpoint/temporary-folder.ts";
import { createGraphFixture } from "./graph-fixture.ts";

/** Every exponent with many mantissas, both signs, zeros, ties, and what lies around the limits of fp16. */
const VALUES = Float32Array.from([
  ...Array.from(
    { length: 20_000 },
    (_, i) => (i % 2 === 0 ? 1 : -1) * 2 ** ((i % 60) - 38) * (1 + ((i * 7919) % 10_007) / 10_007),
  ),
  ...[0, -0, 1, -1, 65504, 65519, 65520, 65536, 1e30, -1e30, 2 ** -14, 2 ** -24, 2 ** -25, 1.5 * 2 ** -25, 2 ** -26],
  ...Array.from({ length: 64 }, (_, i) => 1 + i / 2 ** 12), // ties of fp16
  ...Array.from({ length: 64 }, (_, i) => 2 ** -24 * (i / 4)), // ties of subnormal fp16
]);

test("fp16 bits are those that ONNX Runtime's Cast gives", async () => {
  const g = createGraphFixture().builder("halves");
  const x = g.input("x", "float32", ["n"]);
  g.output("halves", g.op("Cast", [x], { to: FLOAT16 }), { type: "float16", dims: ["n"] });
  const file = join(createFolder(), "halves.onnx");
  writeFileSync(file, encodeModel(g.finish()));
  const session = await InferenceSession.create(file);
  const { halves } = await session.run({ x: new Tensor("float32", VALUES, [VALUES.length]) });
  const { buffer, byteOffset, length } = halves!.data as Uint16Array;
  expect([...toFloat16(VALUES)]).toEqual([...new Uint16Array(buffer, byteOffset, length)]);
});

test("bf16 bits are the nearest ones, ties to even", () => {
  const values = Float32Array.of(0, -0, 1, 1 + 2 ** -8, 1 + 3 * 2 ** -8, 1 + 2 ** -8 + 2 ** -20, -3.1428, 3e38);
  expect([...toBfloat16(values)]).toEqual([0, 0x8000, 0x3f80, 0x3f80, 0x3f82, 0x3f81, 0xc049, 0x7f62]);
});

test("columns are quantized to 7 bits by the largest magnitude of each", () => {
  const { values, scales } = quantizeColumns(Float32Array.of(1, 0, -126, 0.51, 0, 63, -1, 0, 2), 3);
  expect([...scales]).toEqual([1 / 63, 0, 2].map(Math.fround));
  expect([...values]).toEqual([63, 0, -63, 32, 0, 32, -63, 0, 1]);
});
