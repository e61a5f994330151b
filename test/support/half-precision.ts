import type { OnnxGraph, OnnxNode } from "../../inference/graph/onnx-model.ts";

/**
 * The graph with every fp16 value held as such. The CPU provider computes fp16 operators in fp32 and drops a cast to fp16
 * whose result is cast back at once: nothing overflows there that would on a GPU. An Identity in between keeps the cast,
 * if the session does not optimise ("disabled").
 */
export function inHalfPrecision(graph: OnnxGraph): OnnxGraph {
  const isHalf = new Set(graph.initializers.filter(({ type }) => type === "float16").map(({ name }) => name));
  const nodes = graph.nodes.flatMap((node): OnnxNode[] => {
    const to = node.attributes["to"];
    const castsToHalf = node.opType === "Cast" && to?.kind === "int" && to.value === 10;
    const staysHalf = node.opType !== "Cast" && node.inputs.some((name) => isHalf.has(name));
    if (!castsToHalf && !staysHalf) return [node];
    const held = node.outputs.map((output): OnnxNode => {
      isHalf.add(output);
      return {
        name: `${output}/held`,
        opType: "Identity",
        domain: "",
        inputs: [`${output}/computed`],
        outputs: [output],
        attributes: {},
      };
    });
    return [{ ...node, outputs: node.outputs.map((output) => `${output}/computed`) }, ...held];
  });
  return { ...graph, nodes };
}
