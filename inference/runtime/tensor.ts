/** Tensors as graphs take and give them. */
import { Tensor } from "onnxruntime-node";

export type { Tensor };

export const float32 = (data: Float32Array, dims: readonly number[]): Tensor => new Tensor("float32", data, dims);

export const int64 = (values: Iterable<number>, dims: readonly number[]): Tensor =>
  new Tensor("int64", BigInt64Array.from(values, BigInt), dims);

/** The values of a float32 result. */
export function valuesOf(tensor: Tensor): Float32Array {
  if (tensor.data instanceof Float32Array) return tensor.data;
  throw new TypeError(`expected a float32 tensor, not ${tensor.type}`);
}
