import { readFileSync } from "node:fs";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { GraphBuilder } from "../../inference/graph/graph-builder.ts";
import type { OnnxGraph, OnnxNode } from "../../inference/graph/onnx-model.ts";
import { WeightsFile } from "../../inference/graph/weights-file.ts";
import { findCheckpointFolder } from "../../inference/model/checkpoint-folder.ts";
import { parseUnipicConfig, type UnipicConfig } from "../../inference/model/config.ts";
import { Parameters } from "../../inference/model/parameters.ts";
import { GRAPH_BUILDERS } from "../../inference/model/unipic.ts";
import { createFolder } from "../checkpoint/temporary-folder.ts";

export interface ModelGraphs {
  readonly config: UnipicConfig;
  readonly graphs: Readonly<Record<string, OnnxGraph>>;
  readonly weightsBytes: number;
}

/** Every graph of a checkpoint as its builder left it. @param change of the content of its config.json, before it is read */
export function buildGraphs(
  folder: string,
  change: (config: Record<string, Record<string, unknown>>) => void = () => {},
): ModelGraphs {
  const content = JSON.parse(readFileSync(join(folder, "config.json"), "utf8"));
  change(content);
  const config = parseUnipicConfig(content, folder);
  const sources = findCheckpointFolder(join(folder, "checkpoint"), join(folder, "config.json")).open();
  const weights = new WeightsFile(join(createFolder(), "weights.bin"), "weights.bin");
  onTestFinished(() => {
    weights.close();
    for (const { checkpoint } of sources) checkpoint.close();
  });
  const parameters = new Parameters(sources, []);
  const graphs = Object.entries(GRAPH_BUILDERS).map(([name, build]) => {
    const g = new GraphBuilder(name, parameters, weights);
    build(g, config);
    return [name, g.finish()] as const;
  });
  return { config, graphs: Object.fromEntries(graphs), weightsBytes: weights.sizeBytes };
}

/** The nodes of a graph and of the bodies of its loops. */
export function allNodes({ nodes }: OnnxGraph): readonly OnnxNode[] {
  return nodes.flatMap((node) => [
    node,
    ...Object.values(node.attributes).flatMap((attribute) =>
      attribute.kind === "graph" ? allNodes(attribute.value) : [],
    ),
  ]);
}
