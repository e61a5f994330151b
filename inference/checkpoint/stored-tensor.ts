import type { CheckpointError, StorageType, TensorEntry } from "./checkpoint.ts";
import type { FileReader } from "./file-reader.ts";
import { convertToFloat32, ELEMENT_BYTES } from "./storage-type.ts";

/** Conversions go through one buffer of this size, small enough to stay in the CPU's cache. */
const CHUNK_BYTES = 512 * 1024;

/** A view with more elements than bytes behind it (stride 0) may hold this many: 64 MiB as fp32. */
const MAX_REPEATED_ELEMENTS = 2 ** 24;

/** Where the elements of a tensor lie in a file: element [i, j, ...] is number i * strides[0] + j * strides[1] + ... */
export interface StoredTensor {
  readonly entry: TensorEntry;
  readonly strides: readonly number[];
  /** Byte of the file at which element [0, 0, ...] starts. */
  readonly position: number;
  /** Throws unless the bytes around it are those that were saved. Absent where the format has no checksums. */
  readonly requireIntact?: () => void;
}

/** One dimension that is stepped through: dimensions of size 1 have none. */
interface Dimension {
  readonly size: number;
  readonly stride: number;
}

/** Strides of a row-major tensor, in elements. */
export function rowMajorStrides(shape: readonly number[]): number[] {
  const strides: number[] = [];
  let stride = 1;
  for (const size of shape.toReversed()) {
    strides.unshift(stride);
    stride *= size;
  }
  return strides;
}

export function countElements(shape: readonly number[]): number {
  return shape.includes(0) ? 0 : shape.reduce((product, size) => product * size, 1); // not Infinity * 0
}

/** Elements from the first to the last that the tensor touches: what it needs of its storage. */
export function spanOf(shape: readonly number[], strides: readonly number[]): number {
  if (shape.includes(0)) return 0;
  return 1 + shape.reduce((span, size, axis) => span + (size - 1) * (strides[axis] ?? 0), 0);
}

/** Reads a tensor as row-major fp32: its span of the file, and for the first tensor of a checksum all that it covers. */
export function readFloat32(file: FileReader, tensor: StoredTensor): Float32Array {
  const { name, type, shape } = tensor.entry;
  const count = countElements(shape);
  const span = spanOf(shape, tensor.strides);
  if (count === 0) return new Float32Array(0);
  if (count > Math.max(span, MAX_REPEATED_ELEMENTS)) throw repeatsTooMuch(file, name, { count, span });

  tensor.requireIntact?.();
  const dimensions = dimensionsOf(shape, tensor.strides);
  const values = readSpan(file, { type, position: tensor.position, count: span });
  return isRowMajor(dimensions) ? values : gather(dimensions, values, allocate(file, count));
}

function readSpan(file: FileReader, span: { type: StorageType; position: number; count: number }): Float32Array {
  const { type, position, count } = span;
  const values = allocate(file, count);
  if (type === "F32") {
    file.readInto(new Uint8Array(values.buffer), position);
    return values;
  }
  const elementBytes = ELEMENT_BYTES[type];
  const chunkElements = CHUNK_BYTES / elementBytes;
  const chunk = new ArrayBuffer(CHUNK_BYTES);
  for (let start = 0; start < count; start += chunkElements) {
    const target = values.subarray(start, start + chunkElements);
    file.readInto(new Uint8Array(chunk, 0, target.length * elementBytes), position + start * elementBytes);
    convertToFloat32(type, chunk, target);
  }
  return values;
}

function dimensionsOf(shape: readonly number[], strides: readonly number[]): Dimension[] {
  return shape.map((size, axis) => ({ size, stride: strides[axis] ?? 0 })).filter(({ size }) => size !== 1);
}

function isRowMajor(dimensions: readonly Dimension[]): boolean {
  const expected = rowMajorStrides(dimensions.map(({ size }) => size));
  return dimensions.every(({ stride }, axis) => stride === expected[axis]);
}

/** Copies the elements into `target` in row-major order: the innermost dimension in a loop, the others as an odometer. */
function gather(dimensions: readonly Dimension[], values: Float32Array, target: Float32Array): Float32Array {
  const inner = dimensions.at(-1) ?? { size: 1, stride: 0 };
  const outer = dimensions
    .slice(0, -1)
    .map((dimension) => ({ ...dimension, index: 0 }))
    .toReversed();
  let source = 0;
  for (let start = 0; start < target.length; start += inner.size) {
    for (let i = 0; i < inner.size; i++) target[start + i] = values[source + i * inner.stride] ?? Number.NaN;
    for (const dimension of outer) {
      dimension.index++;
      source += dimension.stride;
      if (dimension.index < dimension.size) break;
      source -= dimension.stride * dimension.size;
      dimension.index = 0;
    }
  }
  return target;
}

/** The size comes from the file, so running out of memory is told as a problem of that file. */
function allocate(file: FileReader, count: number): Float32Array<ArrayBuffer> {
  try {
    return new Float32Array(count);
  } catch (cause) {
    throw file.failure(`has a tensor that takes ${count * 4} bytes of memory, more than this process can have.`, cause);
  }
}

function repeatsTooMuch(file: FileReader, name: string, size: { count: number; span: number }): CheckpointError {
  return file.failure(
    `tensor "${name}" repeats ${size.span} stored elements to ${size.count}, more than can be meant. ` +
      "Save it again as a contiguous tensor.",
  );
}
