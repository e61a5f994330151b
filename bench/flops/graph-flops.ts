/**
 * How many floating-point operations a graph executes, from its nodes and the sizes of its inputs.
 *
 * Convention: a multiply-add is 2. Counted are matrix products, convolutions and attention (4 * rows * keys * width: all
 * keys, masked or not, because that is what runs); everything else is below a percent of them and left out.
 */
import type { AttributeValue, OnnxGraph, OnnxNode, OnnxTensor } from "../../inference/graph/onnx-model.ts";

/** A tensor's shape; of small ones that shapes are made of, also the values. */
export interface Extent {
  readonly dims: readonly number[];
  readonly values?: readonly number[] | undefined;
}

/** @param sizes of the dimensions that the graph's inputs name */
export function graphFlops(graph: OnnxGraph, sizes: Readonly<Record<string, number>>): number {
  const extents = new Map<string, Extent>();
  for (const { name, dims } of graph.inputs) {
    extents.set(name, { dims: dims.map((dim) => (typeof dim === "number" ? dim : sizeOf(sizes, dim, graph.name))) });
  }
  return countInto(extents, graph);
}

function sizeOf(sizes: Readonly<Record<string, number>>, name: string, graph: string): number {
  const size = sizes[name];
  if (size === undefined) throw new Error(`the graph ${graph} needs the size "${name}"`);
  return size;
}

/** Adds the extents of all results. */
function countInto(extents: Map<string, Extent>, graph: OnnxGraph): number {
  for (const tensor of graph.initializers) extents.set(tensor.name, { dims: tensor.dims, values: valuesOf(tensor) });
  let flops = 0;
  for (const node of graph.nodes) {
    const inputs = node.inputs.map((name) => extents.get(name));
    const result = node.opType === "Scan" ? scan(node, inputs, extents) : apply(node, inputs);
    flops += result.flops ?? 0;
    for (const [i, name] of node.outputs.entries()) {
      const extent = result.outputs[i];
      if (extent !== undefined) extents.set(name, extent);
    }
  }
  return flops;
}

interface Outcome {
  readonly outputs: readonly Extent[];
  readonly flops?: number;
}

/** States go from step to step; of every other input each step takes one row. */
function scan(node: OnnxNode, inputs: readonly (Extent | undefined)[], outside: ReadonlyMap<string, Extent>): Outcome {
  const operands = new Operands(node, inputs);
  const body = node.attributes["body"];
  const scanned = operands.int("num_scan_inputs", 0);
  const stateCount = inputs.length - scanned;
  const steps = operands.dims(stateCount)[0];
  if (body?.kind !== "graph" || steps === undefined) throw new Error(`${node.name}: how often it runs is not known`);
  const inside = new Map(outside);
  for (const [i, { name }] of body.value.inputs.entries()) {
    inside.set(name, { dims: i < stateCount ? operands.dims(i) : operands.dims(i).slice(1) });
  }
  return {
    outputs: inputs.slice(0, stateCount).flatMap((each) => each ?? []),
    flops: steps * countInto(inside, body.value),
  };
}

function apply(node: OnnxNode, inputs: readonly (Extent | undefined)[]): Outcome {
  const rule = RULES[node.opType];
  if (rule === undefined) throw new Error(`${node.name}: ${node.opType} is not counted yet`);
  return rule(new Operands(node, inputs));
}

/** What a rule asks of a node. */
class Operands {
  constructor(
    readonly node: OnnxNode,
    readonly inputs: readonly (Extent | undefined)[],
  ) {}

  dims(index: number): readonly number[] {
    const extent = this.inputs[index];
    if (extent === undefined) throw new Error(`${this.node.name}: the shape of input ${index} is not known`);
    return extent.dims;
  }

  values(index: number): readonly number[] {
    const values = this.inputs[index]?.values;
    if (values === undefined) throw new Error(`${this.node.name}: the values of input ${index} are not known`);
    return values;
  }

  /** Undefined where the attribute is absent. */
  ints(name: string): readonly number[] | undefined {
    const attribute: AttributeValue | undefined = this.node.attributes[name];
    if (attribute?.kind === "ints") return attribute.value;
    return attribute?.kind === "int" ? [attribute.value] : undefined;
  }

  int(name: string, otherwise: number): number {
    return this.ints(name)?.[0] ?? otherwise;
  }
}

const product = (values: readonly number[]): number => values.reduce((result, value) => result * value, 1);
const one = (dims: readonly number[], values?: readonly number[]): Outcome => ({ outputs: [{ dims, values }] });
const sameShape = ({ inputs }: Operands): Outcome => ({ outputs: inputs.slice(0, 1).flatMap((each) => each ?? []) });
/** For a value that is changed: its shape stays. */
const changed = (operands: Operands): Outcome => one(operands.dims(0));

/** The common shape of operands of which some are repeated. */
function broadcast(...shapes: readonly (readonly number[])[]): readonly number[] {
  const rank = Math.max(...shapes.map(({ length }) => length));
  return Array.from({ length: rank }, (_, axis) => {
    const sizes = shapes.map((dims) => dims[axis - rank + dims.length] ?? 1);
    return sizes.find((size) => size !== 1) ?? 1;
  });
}

function elementwise(combine?: (a: number, b: number) => number): Rule {
  return ({ inputs }) => {
    const [a, b] = inputs;
    const dims = broadcast(...inputs.flatMap((each) => (each === undefined ? [] : [each.dims])));
    const [left, right] = [a?.values, b?.values];
    if (combine === undefined || left === undefined || right === undefined) return one(dims);
    const at = (values: readonly number[], i: number): number => values[values.length === 1 ? 0 : i] ?? 0;
    return one(
      dims,
      Array.from({ length: product(dims) }, (_, i) => combine(at(left, i), at(right, i))),
    );
  };
}

/** Batch dimensions, then the matrices. */
function matrixProduct(a: readonly number[], b: readonly number[]): Outcome {
  const [rows = 1, inner = 1] = a.slice(-2);
  const columns = b.at(-1) ?? 1;
  const batch = broadcast(a.slice(0, -2), b.slice(0, -2));
  const dims = [...batch, rows, columns];
  return { ...one(dims), flops: 2 * product(dims) * inner };
}

const axisOf = (axis: number, rank: number): number => (axis < 0 ? axis + rank : axis);
const replaced = (dims: readonly number[], axis: number, ...by: readonly number[]): number[] => [
  ...dims.slice(0, axisOf(axis, dims.length)),
  ...by,
  ...dims.slice(axisOf(axis, dims.length) + 1),
];

type Rule = (operands: Operands) => Outcome;

const RULES: Readonly<Record<string, Rule>> = {
  ...Object.fromEntries(["Identity", "Cast"].map((name) => [name, sameShape])),
  ...Object.fromEntries(
    [
      ...["Gelu", "QuickGelu", "Softmax", "LayerNormalization", "SimplifiedLayerNormalization", "RotaryEmbedding"],
      ...["InstanceNormalization", "Exp", "Cos", "Sin"],
    ].map((name) => [name, changed]),
  ),
  ...Object.fromEntries(
    ["Less", "GreaterOrEqual", "LessOrEqual", "And", "Or", "Where"].map((name) => [name, elementwise()]),
  ),
  Add: elementwise((a, b) => a + b),
  Sub: elementwise((a, b) => a - b),
  Mul: elementwise((a, b) => a * b),
  Div: elementwise((a, b) => Math.trunc(a / b)),
  Max: elementwise(Math.max),
  Neg: (operands) =>
    one(
      operands.dims(0),
      operands.inputs[0]?.values?.map((value) => -value),
    ),
  MatMul: (operands) => matrixProduct(operands.dims(0), operands.dims(1)),
  Gemm(operands) {
    const weight = operands.dims(1);
    return matrixProduct(operands.dims(0), operands.int("transB", 0) === 1 ? [...weight].reverse() : weight);
  },
  MultiHeadAttention(operands) {
    const [query, key] = [operands.dims(0), operands.dims(1)];
    return { ...one(query), flops: 4 * product(query) * (key[1] ?? 0) };
  },
  Conv(operands) {
    const [batch = 0, , ...size] = operands.dims(0);
    const [channels = 0, inputs = 0, ...kernel] = operands.dims(1);
    const pads = operands.ints("pads") ?? [];
    const strides = operands.ints("strides") ?? [];
    const spatial = size.map((length, axis) => {
      const padded = length + (pads[axis] ?? 0) + (pads[axis + size.length] ?? 0);
      return Math.floor((padded - (kernel[axis] ?? 1)) / (strides[axis] ?? 1)) + 1;
    });
    const dims = [batch, channels, ...spatial];
    return { ...one(dims), flops: 2 * product(dims) * inputs * product(kernel) };
  },
  Shape(operands) {
    const dims = operands.dims(0);
    const values = dims.slice(operands.int("start", 0), operands.int("end", dims.length));
    return one([values.length], values);
  },
  Range(operands) {
    const [start = 0, limit = 0, delta = 1] = [0, 1, 2].map((i) => operands.values(i)[0]);
    return one([Math.max(0, Math.ceil((limit - start) / delta))]);
  },
  Squeeze(operands) {
    const axes = operands.inputs[1]?.values;
    return one(
      operands.dims(0).filter((size, axis) => (axes === undefined ? size !== 1 : !axes.includes(axis))),
      operands.inputs[0]?.values,
    );
  },
  Unsqueeze(operands) {
    const axes = operands.values(1);
    const rank = operands.dims(0).length + axes.length;
    const inserted = axes.map((axis) => axisOf(axis, rank));
    const rest = [...operands.dims(0)];
    const dims = Array.from({ length: rank }, (_, axis) => (inserted.includes(axis) ? 1 : (rest.shift() ?? 1)));
    return one(dims, operands.inputs[0]?.values);
  },
  Reshape(operands) {
    const dims = operands.dims(0);
    const wanted = operands.values(1).map((size, axis) => (size === 0 ? (dims[axis] ?? 0) : size));
    const known = product(wanted.filter((size) => size !== -1));
    return one(
      wanted.map((size) => (size === -1 ? product(dims) / known : size)),
      operands.inputs[0]?.values,
    );
  },
  Expand: (operands) => one(broadcast(operands.dims(0), operands.values(1))),
  Tile(operands) {
    const repeats = operands.values(1);
    return one(operands.dims(0).map((size, axis) => size * (repeats[axis] ?? 1)));
  },
  Transpose(operands) {
    const dims = operands.dims(0);
    return one((operands.ints("perm") ?? []).map((axis) => dims[axis] ?? 0));
  },
  Concat(operands) {
    const parts = operands.inputs.map((_, i) => operands.dims(i));
    const [first = []] = parts;
    const axis = axisOf(operands.int("axis", 0), first.length);
    const values = operands.inputs.map((each) => each?.values);
    return one(
      replaced(
        first,
        axis,
        parts.reduce((sum, dims) => sum + (dims[axis] ?? 0), 0),
      ),
      values.every((each) => each !== undefined) ? values.flat() : undefined,
    );
  },
  Split(operands) {
    const axis = operands.int("axis", 0);
    return { outputs: operands.values(1).map((size) => ({ dims: replaced(operands.dims(0), axis, size) })) };
  },
  Slice(operands) {
    const dims = operands.dims(0);
    const [start = 0, end = 0, axis = 0] = [1, 2, 3].map((i) => operands.values(i)[0]);
    const size = dims[axisOf(axis, dims.length)] ?? 0;
    const bound = (at: number): number => Math.min(size, Math.max(0, at < 0 ? at + size : at));
    const length = Math.max(0, bound(end) - bound(start));
    return one(replaced(dims, axis, length), operands.inputs[0]?.values?.slice(bound(start), bound(end)));
  },
  Gather: (operands) => one(replaced(operands.dims(0), operands.int("axis", 0), ...operands.dims(1))),
  /** With one batch dimension and indices of one number each. */
  GatherND: (operands) => one([...operands.dims(1).slice(0, -1), ...operands.dims(0).slice(2)]),
  Resize(operands) {
    const scales = operands.values(2);
    return one(operands.dims(0).map((size, axis) => Math.floor(size * (scales[axis] ?? 1))));
  },
};

/** Of constants that are stored in the graph itself. */
function valuesOf({ type, content }: OnnxTensor): readonly number[] | undefined {
  if (!(content instanceof Uint8Array)) return undefined;
  const bytes = content.slice().buffer;
  if (type === "int64") return [...new BigInt64Array(bytes)].map(Number);
  return type === "float32" ? [...new Float32Array(bytes)] : undefined;
}
