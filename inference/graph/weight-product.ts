/**
 * Products with large weights, in the format in which a build stores them. Whatever the format, what goes in and comes
 * out is fp32: residual streams, norms, softmax and biases never see another one.
 */
import type { DerivedParameter, GraphBuilder, Value } from "./graph-builder.ts";
import { largestColumnSum, quantizeColumns, toBfloat16, toFloat16 } from "./number-formats.ts";
import { FLOAT, FLOAT16 } from "./onnx-model.ts";

type Read = Parameters<DerivedParameter["derive"]>[0];

/** A matrix [inputs, outputs] made of checkpoint tensors. */
export interface WeightMatrix {
  readonly name: string;
  readonly shape: readonly [inputs: number, outputs: number];
  readonly derive: (read: Read) => Float32Array;
  /** Its input is no norm's result: nothing bounds it. */
  readonly takesLargeInput?: boolean;
}

/** x: [..., inputs] float32 -> [..., outputs] float32 */
export function weightProduct(g: GraphBuilder, x: Value, matrix: WeightMatrix): Value {
  switch (g.formatOf(matrix.name)) {
    case "float32":
      return g.op("MatMul", [x, g.derivedParameter(matrix)]);
    case "int8":
      return int8Product(g, x, matrix);
    case "float16":
      return float16Product(g, x, matrix);
    case "bfloat16":
      return bfloat16Product(g, x, matrix);
  }
}

/**
 * Both sides in integers: weights in 7 bits with a scale for each column, inputs in 8 bits with a scale for each row.
 *
 * One scale for the whole input (DynamicQuantizeMatMul) would be up to 9 % faster, but then a row would depend on the
 * rows beside it, and the first token of Qwen2, whose activations are a thousand times larger, would round the others
 * to nothing.
 */
function int8Product(g: GraphBuilder, x: Value, { name, shape, derive }: WeightMatrix): Value {
  const [inputs, outputs] = shape;
  const quantized = once((read: Read) => quantizeColumns(derive(read), outputs));
  const weight = g.derivedParameter({
    name: `${name}:int8`,
    type: "int8",
    shape,
    derive: (read) => quantized(read).values,
  });
  const scales = g.derivedParameter({
    name: `${name}:scales`,
    shape: [outputs],
    derive: (read) => quantized(read).scales,
  });

  const largest = g.op("ReduceMax", [g.op("Abs", [x]), g.int([-1])], { keepdims: 1 });
  const rowScales = g.op("Mul", [largest, g.float(1 / 127)]); // (..., 1)
  const flatScales = g.op("Reshape", [rowScales, g.int([-1])]);
  const zeros = g.op("Expand", [g.byte(128), g.op("Shape", [flatScales])]);
  const rows = g.op("Reshape", [x, g.int([-1, inputs])]);
  const bytes = g.op("QuantizeLinear", [rows, flatScales, zeros], { axis: 0 });
  const product = g.op(
    "MatMulIntegerToFloat",
    [g.op("Reshape", [bytes, g.op("Shape", [x])]), weight, g.float(1), scales, g.byte(128)],
    {},
    { domain: "com.microsoft" },
  );
  return g.op("Mul", [product, rowScales]);
}

/** In magnitude, of a weight in fp16: no product is larger than this times its input. */
const LARGEST_COLUMN_SUM = 16;
/** Of inputs that are no norm's results. */
const INPUT_DIVISOR = 64;

/**
 * A product in fp16 (at most 65504) that cannot overflow: weights are divided by a power of two, which is exact, until
 * LARGEST_COLUMN_SUM holds, so that inputs up to 4094 are safe whatever the weights are; a norm's results are far below.
 * Other inputs are divided by INPUT_DIVISOR first: they are safe up to 262000. The result is multiplied back in fp32.
 */
function float16Product(g: GraphBuilder, x: Value, { name, shape, derive, takesLargeInput }: WeightMatrix): Value {
  const scaled = once((read: Read) => {
    const values = derive(read);
    const factor = 2 ** Math.max(0, Math.ceil(Math.log2(largestColumnSum(values, shape[1]) / LARGEST_COLUMN_SUM)));
    return { values: toFloat16(values.map((value) => value / factor)), factor };
  });
  const weight = g.derivedParameter({
    name: `${name}:float16`,
    type: "float16",
    shape,
    derive: (read) => scaled(read).values,
  });
  const factor = g.derivedParameter({
    name: `${name}:factor`,
    shape: [1],
    derive: (read) => Float32Array.of(scaled(read).factor * (takesLargeInput ? INPUT_DIVISOR : 1)),
  });
  const small = takesLargeInput ? g.op("Mul", [x, g.float(1 / INPUT_DIVISOR)]) : x;
  return g.op("Mul", [toFloat(g, g.op("MatMul", [toHalf(g, small), weight])), factor]);
}

/**
 * A weight stored as bf16, as the published checkpoint has it, and multiplied in fp32: half the file and the very same
 * numbers. ONNX Runtime multiplies bf16 on few devices, and not on a CPU.
 */
function bfloat16Product(g: GraphBuilder, x: Value, { name, shape, derive }: WeightMatrix): Value {
  const weight = g.derivedParameter({
    name: `${name}:bfloat16`,
    type: "bfloat16",
    shape,
    derive: (read) => toBfloat16(derive(read)),
  });
  return g.op("MatMul", [x, toFloat(g, weight)]);
}

export const toFloat = (g: GraphBuilder, x: Value): Value => g.op("Cast", [x], { to: FLOAT });
export const toHalf = (g: GraphBuilder, x: Value): Value => g.op("Cast", [x], { to: FLOAT16 });

/** Two parameters may be made of one result; it is dropped with the last of them. */
function once<T>(make: (read: Read) => T): (read: Read) => T {
  let made: { readonly result: T } | undefined;
  return (read) => {
    made ??= { result: make(read) };
    return made.result;
  };
}
