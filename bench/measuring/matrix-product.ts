/** A plain MatMul of ONNX Runtime: what this machine can do at the moment, and nothing of ours in it. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { InferenceSession } from "onnxruntime-node";
import { GraphBuilder } from "../../inference/graph/graph-builder.ts";
import { encodeModel } from "../../inference/graph/onnx-model.ts";
import { matMul } from "../../inference/graph/ops.ts";
import { WeightsFile } from "../../inference/graph/weights-file.ts";
import { Parameters } from "../../inference/model/parameters.ts";
import { float32 } from "../../inference/runtime/tensor.ts";

export interface ProductShape {
  readonly rows: number;
  readonly inputs: number;
  readonly outputs: number;
}

/** The product as a function to call, on one thread; close it afterwards. */
export async function openMatrixProduct({ rows, inputs, outputs }: ProductShape): Promise<{
  run(): Promise<unknown>;
  close(): Promise<void>;
}> {
  const folder = mkdtempSync(join(tmpdir(), "atelier-product-"));
  const weights = new WeightsFile(join(folder, "weights.bin"), "weights.bin");
  const g = new GraphBuilder("product", new Parameters([], []), weights);
  const a = g.input("a", "float32", [rows, inputs]);
  const b = g.input("b", "float32", [inputs, outputs]);
  g.output("product", matMul(g, a, b), { type: "float32", dims: [rows, outputs] });
  writeFileSync(join(folder, "product.onnx"), encodeModel(g.finish()));
  weights.close();
  const session = await InferenceSession.create(join(folder, "product.onnx"), { intraOpNumThreads: 1 });
  rmSync(folder, { recursive: true });
  const feeds = {
    a: float32(new Float32Array(rows * inputs).fill(0.5), [rows, inputs]),
    b: float32(new Float32Array(inputs * outputs).fill(0.25), [inputs, outputs]),
  };
  return { run: () => session.run(feeds), close: () => session.release() };
}
