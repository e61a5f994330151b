/** fp32 values in the formats in which large weights may be stored. */

/** How a large weight is stored and multiplied. */
export type MatrixFormat = "float32" | "int8" | "float16" | "bfloat16";

/** The largest magnitude of a quantized weight: AVX2 adds two products of u8 and s8 in 16 bits, and 2 * 255 * 63 < 2^15. */
const INT8_LARGEST = 63;

/**
 * A matrix [rows, columns] in 7 bits and one scale for each column: value = quantized * scale.
 *
 * Larger numbers saturate in the u8 x s8 kernels of processors without VNNI, silently: relative error 0.18 with 8 bits,
 * 0.015 with 7 (K = 1536, normally distributed).
 */
export function quantizeColumns(
  matrix: Float32Array,
  columns: number,
): { readonly values: Int8Array; readonly scales: Float32Array } {
  const scales = columnwise(matrix, columns, Math.max).map((largest) => largest / INT8_LARGEST);
  const inverses = Float64Array.from(scales, (scale) => (scale === 0 ? 0 : 1 / scale));
  const values = new Int8Array(matrix.length);
  for (let start = 0; start < matrix.length; start += columns) {
    for (let column = 0; column < columns; column++) {
      values[start + column] = Math.round((matrix[start + column] ?? 0) * (inverses[column] ?? 0));
    }
  }
  return { values, scales };
}

/** The largest sum of magnitudes of a column of a matrix [rows, columns]. */
export const largestColumnSum = (matrix: Float32Array, columns: number): number =>
  columnwise(matrix, columns, (sum, magnitude) => sum + magnitude).reduce((a, b) => Math.max(a, b), 0);

function columnwise(
  matrix: Float32Array,
  columns: number,
  combine: (soFar: number, magnitude: number) => number,
): Float32Array {
  const results = new Float32Array(columns);
  for (let start = 0; start < matrix.length; start += columns) {
    for (let column = 0; column < columns; column++) {
      results[column] = combine(results[column] ?? 0, Math.abs(matrix[start + column] ?? 0));
    }
  }
  return results;
}

/** The bits of the nearest bf16 values, ties to even. */
export function toBfloat16(values: Float32Array): Uint16Array {
  const words = wordsOf(values);
  const halves = new Uint16Array(values.length);
  for (let i = 0; i < words.length; i++) {
    const word = words[i] ?? 0;
    halves[i] = (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
  }
  return halves;
}

/** The nearest values that bf16 can hold, ties to even. */
export const roundToBfloat16 = (values: Float32Array): Float32Array =>
  new Float32Array(Uint32Array.from(toBfloat16(values), (half) => half << 16).buffer);

const FLOAT16_OVERFLOW = 0x47800000; // 2^16 as fp32
const FLOAT16_SMALLEST_NORMAL = 0x38800000; // 2^-14 as fp32
const EXPONENT_BIAS_DIFFERENCE = 112 << 23;

/** The bits of the nearest fp16 values, ties to even; infinity from 65520 on. */
export function toFloat16(values: Float32Array): Uint16Array {
  const words = wordsOf(values);
  const halves = new Uint16Array(values.length);
  const scratch = new Float32Array(1);
  const scratchWord = wordsOf(scratch);
  for (let i = 0; i < words.length; i++) {
    const word = words[i] ?? 0;
    const magnitude = word & 0x7fffffff;
    let half = 0x7c00;
    if (magnitude < FLOAT16_SMALLEST_NORMAL) {
      // The last place of a number in [0.5, 1) is 2^-24, as that of subnormal fp16: adding 0.5 rounds.
      scratch[0] = Math.abs(values[i] ?? 0) + 0.5;
      half = (scratchWord[0] ?? 0) - 0x3f000000;
    } else if (magnitude < FLOAT16_OVERFLOW) {
      const rebased = magnitude - EXPONENT_BIAS_DIFFERENCE;
      half = (rebased + 0xfff + ((rebased >>> 13) & 1)) >>> 13;
    }
    halves[i] = ((word >>> 16) & 0x8000) | half;
  }
  return halves;
}

const wordsOf = (values: Float32Array): Uint32Array => new Uint32Array(values.buffer, values.byteOffset, values.length);
