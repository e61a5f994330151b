import { statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { onTestFinished } from "vitest";
import { openCheckpoint } from "../../inference/checkpoint/open-checkpoint.ts";
import { GraphBuilder } from "../../inference/graph/graph-builder.ts";
import type { MatrixFormat } from "../../inference/graph/number-formats.ts";
import { encodeModel, type OnnxGraph } from "../../inference/graph/onnx-model.ts";
import { WeightsFile } from "../../inference/graph/weights-file.ts";
import { Parameters } from "../../inference/model/parameters.ts";
import { writeSafetensors } from "../checkpoint/checkpoint-writer.ts";
import { createFolder } from "../checkpoint/temporary-folder.ts";

export interface TensorValues {
  readonly shape: readonly number[];
  readonly values: readonly number[];
}

type Optimization = NonNullable<InferenceSession.SessionOptions["graphOptimizationLevel"]>;

export interface GraphFixture {
  readonly weights: WeightsFile;
  readonly weightsPath: string;
  readonly builder: (name: string, format?: (key: string) => MatrixFormat) => GraphBuilder;
  /** Writes the graph beside the weights and runs it; its first result. */
  readonly run: (
    graph: OnnxGraph,
    feeds?: Record<string, Tensor>,
    optimization?: Optimization,
  ) => Promise<TensorValues>;
}

/** Builders over a checkpoint with these tensors, and a folder to run their graphs in; gone when the test ends. */
export function createGraphFixture(tensors: Readonly<Record<string, TensorValues>> = {}): GraphFixture {
  const folder = createFolder();
  const weightsPath = join(folder, "weights.bin");
  const checkpoint = openCheckpoint(writeTensors(tensors));
  const weights = new WeightsFile(weightsPath, "weights.bin");
  const parameters = new Parameters([{ checkpoint, prefix: "" }], []);
  onTestFinished(() => {
    weights.close();
    checkpoint.close();
  });
  return {
    weights,
    weightsPath,
    builder: (name, format) => new GraphBuilder(name, parameters, weights, format),
    async run(graph, feeds = {}, graphOptimizationLevel = "all") {
      const file = join(folder, `${graph.name}.onnx`);
      writeFileSync(file, encodeModel(graph));
      const session = await InferenceSession.create(file, {
        intraOpNumThreads: 1,
        logSeverityLevel: 3,
        graphOptimizationLevel,
      });
      try {
        const results = await session.run(feeds);
        const [first] = Object.values(results);
        return { shape: first!.dims, values: [...(first!.data as Float32Array)].map(Number) };
      } finally {
        await session.release();
      }
    },
  };
}

export const tensorOf = ({ shape, values }: TensorValues): Tensor =>
  new Tensor("float32", Float32Array.from(values), shape);

/** `count` values that differ from each other. */
export const spread = (count: number): number[] =>
  Array.from({ length: count }, (_, i) => Math.fround((i % 17) - i / 8));

export const fileSize = (path: string): number => statSync(path).size;

function writeTensors(tensors: Readonly<Record<string, TensorValues>>): string {
  let offset = 0;
  const header = Object.fromEntries(
    Object.entries(tensors).map(([name, { shape, values }]) => {
      const start = offset;
      offset += 4 * values.length;
      return [name, { dtype: "F32", shape, data_offsets: [start, offset] }];
    }),
  );
  const values = Object.values(tensors).flatMap((tensor) => tensor.values);
  return writeSafetensors(header, Buffer.from(Float32Array.from(values).buffer));
}
