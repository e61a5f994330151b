/** The ONNX operators the architectures are written in. Each is one node, or a few where ONNX has no single one. */
import type { GraphBuilder, Value } from "./graph-builder.ts";
import type { MatrixFormat } from "./number-formats.ts";
import { toFloat, toHalf, weightProduct } from "./weight-product.ts";

export const add = (g: GraphBuilder, a: Value, b: Value): Value => g.op("Add", [a, b]);
export const subtract = (g: GraphBuilder, a: Value, b: Value): Value => g.op("Sub", [a, b]);
export const multiply = (g: GraphBuilder, a: Value, b: Value): Value => g.op("Mul", [a, b]);
export const divide = (g: GraphBuilder, a: Value, b: Value): Value => g.op("Div", [a, b]);
export const matMul = (g: GraphBuilder, a: Value, b: Value): Value => g.op("MatMul", [a, b]);

/** x * sigmoid(x), in one node. */
export const silu = (g: GraphBuilder, x: Value): Value =>
  g.op("QuickGelu", [x], { alpha: { float: 1 } }, { domain: "com.microsoft" });

/** Exact (erf) GELU. */
export const gelu = (g: GraphBuilder, x: Value): Value => g.op("Gelu", [x], { approximate: "none" });

export const softmax = (g: GraphBuilder, x: Value): Value => g.op("Softmax", [x], { axis: -1 });

/** Dimensions: 0 keeps the input's, -1 is inferred. */
export const reshape = (g: GraphBuilder, x: Value, dims: readonly number[]): Value => g.op("Reshape", [x, g.int(dims)]);

export const reshapeTo = (g: GraphBuilder, x: Value, shape: Value): Value => g.op("Reshape", [x, shape]);

export const transpose = (g: GraphBuilder, x: Value, perm: readonly number[]): Value =>
  g.op("Transpose", [x], { perm });

export const concat = (g: GraphBuilder, values: readonly Value[], axis: number): Value =>
  g.op("Concat", values, { axis });

export const unsqueeze = (g: GraphBuilder, x: Value, axes: readonly number[]): Value =>
  g.op("Unsqueeze", [x, g.int(axes)]);

/** Splits the last axis into consecutive parts of the given sizes. */
export const splitLast = (g: GraphBuilder, x: Value, sizes: readonly number[]): readonly Value[] =>
  g.ops("Split", [x, g.int(sizes)], { axis: -1 }, { outputs: sizes.length });

/** Rows `indices` of the first axis. */
export const gather = (g: GraphBuilder, x: Value, indices: Value): Value => g.op("Gather", [x, indices], { axis: 0 });

/** One dimension of x as a scalar. */
export const dimension = (g: GraphBuilder, x: Value, axis: number): Value =>
  g.op("Squeeze", [g.op("Shape", [x], { start: axis, end: axis + 1 }), g.int([0])]);

/** x[:, start:end] along `axis`; an end of undefined means to the end. Bounds are scalars of int64. */
export function slice(
  g: GraphBuilder,
  x: Value,
  { axis, start, end }: { axis: number; start?: Value; end?: Value },
): Value {
  const from = start === undefined ? g.int([0]) : reshape(g, start, [1]);
  const to = end === undefined ? g.int([Number.MAX_SAFE_INTEGER]) : reshape(g, end, [1]);
  return g.op("Slice", [x, from, to, g.int([axis])]);
}

/** For each batch row b, the rows `indices[b]` of x[b]. x: [B, n, width], indices: [B, k] int64 -> [B, k, width]. */
export const gatherRows = (g: GraphBuilder, x: Value, indices: Value): Value =>
  g.op("GatherND", [x, unsqueeze(g, indices, [-1])], { batch_dims: 1 });

export interface LayerNormOptions {
  readonly width: number;
  readonly eps: number;
}

/** LayerNorm over the last axis with the parameters `weight` and `bias` of the scope. */
export const layerNorm = (g: GraphBuilder, x: Value, { width, eps }: LayerNormOptions): Value =>
  g.op("LayerNormalization", [x, g.parameter("weight", [width]), g.parameter("bias", [width])], {
    axis: -1,
    epsilon: { float: eps },
  });

/** RMSNorm over the last axis with the parameter `weight` of the scope. */
export const rmsNorm = (g: GraphBuilder, x: Value, { width, eps }: LayerNormOptions): Value =>
  g.op("SimplifiedLayerNormalization", [x, g.parameter("weight", [width])], { axis: -1, epsilon: { float: eps } });

/**
 * Attention of several heads without a mask. q, k, v: [B, n, width] float32 -> [B, n, width]. In fp16 its softmax is
 * still computed in fp32.
 */
export function multiHeadAttention(
  g: GraphBuilder,
  qkv: readonly Value[],
  { heads, format = "float32" }: { heads: number; format?: MatrixFormat },
): Value {
  const isHalf = format === "float16";
  const operands = isHalf ? qkv.map((value) => toHalf(g, value)) : qkv;
  const attended = g.op("MultiHeadAttention", operands, { num_heads: heads }, { domain: "com.microsoft" });
  return isHalf ? toFloat(g, attended) : attended;
}

/** x W^T + bias with the checkpoint's `<key>.weight` [out, in]. x: [..., in] -> [..., out]. */
export function linear(g: GraphBuilder, key: string, x: Value, [inputs, outputs]: readonly [number, number]): Value {
  return joinedLinear(g, x, { inputs, parts: { [key]: outputs } });
}

export interface JoinedLinear {
  readonly inputs: number;
  /** Key of each layer and its number of outputs, in the order in which the results stand. */
  readonly parts: Readonly<Record<string, number>>;
  readonly bias?: boolean;
  /** Added to the bias [sum of outputs] when the model is built. */
  readonly addToBias?: Float32Array;
  /** The input is no norm's result: nothing bounds it. */
  readonly takesLargeInput?: boolean;
}

/** Several linear layers of one input as one matrix product. x: [..., inputs] -> [..., sum of outputs]. */
export function joinedLinear(
  g: GraphBuilder,
  x: Value,
  { inputs, parts, bias = true, addToBias, takesLargeInput = false }: JoinedLinear,
): Value {
  const layers = Object.entries(parts);
  const outputs = layers.reduce((sum, [, size]) => sum + size, 0);
  const name = layers.map(([key]) => key).join("+");
  const product = weightProduct(g, x, {
    name: `${name}.weight^T`,
    shape: [inputs, outputs],
    derive: (read) =>
      transposedSideBySide(
        layers.map(([key, size]) => read(`${key}.weight`, [size, inputs])),
        inputs,
      ),
    takesLargeInput,
  });
  if (!bias) return product;
  const offset = g.derivedParameter({
    name: addToBias === undefined ? `${name}.bias` : `${name}.bias+constant`,
    shape: [outputs],
    derive: (read) => {
      const joined = joinAll(layers.map(([key, size]) => read(`${key}.bias`, [size])));
      return addToBias === undefined ? joined : joined.map((value, index) => value + (addToBias[index] ?? 0));
    },
  });
  return add(g, product, offset);
}

/**
 * The rows `from`..`to` of a linear layer with `total` outputs, as if it were a layer of its own.
 * x: [..., inputs] -> [..., to - from].
 */
export function partOfLinear(
  g: GraphBuilder,
  key: string,
  x: Value,
  { inputs, total, from, to }: { inputs: number; total: number; from: number; to: number },
): Value {
  const product = weightProduct(g, x, {
    name: `${key}.weight[${from}:${to}]^T`,
    shape: [inputs, to - from],
    derive: (read) =>
      transposedSideBySide([read(`${key}.weight`, [total, inputs]).subarray(from * inputs, to * inputs)], inputs),
  });
  const bias = g.derivedParameter({
    name: `${key}.bias[${from}:${to}]`,
    shape: [to - from],
    derive: (read) => read(`${key}.bias`, [total]).slice(from, to),
  });
  return add(g, product, bias);
}

/** Matrices [out_i, inputs] -> [inputs, sum(out_i)]: MatMul wants the weight as [in, out] (1.15x faster than transB on a CPU). */
function transposedSideBySide(matrices: readonly Float32Array[], inputs: number): Float32Array {
  const outputs = matrices.reduce((sum, matrix) => sum + matrix.length / inputs, 0);
  const result = new Float32Array(inputs * outputs);
  let column = 0;
  for (const matrix of matrices) {
    const rows = matrix.length / inputs;
    for (let row = 0; row < rows; row++) {
      const source = row * inputs;
      for (let i = 0; i < inputs; i++) result[i * outputs + column + row] = matrix[source + i] ?? 0;
    }
    column += rows;
  }
  return result;
}

function joinAll(parts: readonly Float32Array[]): Float32Array {
  const result = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    result.set(part, offset);
    offset += part.length;
  }
  return result;
}
