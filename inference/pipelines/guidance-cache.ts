/**
 * Guidance that a step sets aside for a later one: by how much the conditions of the two branches differ at a place. The
 * difference changes less from step to step than the conditions do, so the later step computes one branch only.
 * Source: the condition cache of LazyMAR (arXiv 2503.12450).
 */

/** Of all pictures of a run the same are defined, and have the same lengths. */
interface GuidedPicture {
  readonly predicted: Uint32Array;
  readonly ahead: Uint32Array;
  readonly unconditional: unknown;
  /** [predicted and later ones, D] */
  readonly guidance: Float32Array | undefined;
}

/**
 * What the diffusion is led by, and what is set aside.
 *
 * @param z [branches * pictures, predicted + ahead, D], conditional rows first
 * @returns conditions [branches * pictures * predicted, D], conditional ones first; of each picture what is set aside, [later, D]
 */
export function withGuidance(
  z: Float32Array,
  pictures: readonly GuidedPicture[],
): { readonly conditions: Float32Array; readonly aside: readonly Float32Array[] } {
  const [first] = pictures;
  if (first === undefined) throw new RangeError("a step without pictures");
  const branches = first.unconditional === undefined ? 1 : 2;
  const width = z.length / (branches * pictures.length * (first.predicted.length + first.ahead.length));
  const predicted = first.predicted.length * width;
  const span = predicted + first.ahead.length * width;
  const row = (index: number): Float32Array => z.subarray(index * span, (index + 1) * span);
  const reused = pictures.flatMap(({ guidance }, index) =>
    guidance === undefined ? [] : [minus(row(index).subarray(0, predicted), guidance)],
  );
  const computed = Array.from({ length: branches * pictures.length }, (_, i) => row(i).subarray(0, predicted));
  const aside = pictures.map(({ guidance }, index) => {
    if (guidance !== undefined) return guidance.subarray(predicted);
    return minus(row(index).subarray(predicted), row(pictures.length + index).subarray(predicted));
  });
  return { conditions: joined([...computed, ...reused]), aside };
}

const minus = (a: Float32Array, b: Float32Array): Float32Array => a.map((value, i) => value - (b[i] ?? 0));

export function joined(parts: readonly Float32Array[]): Float32Array {
  const result = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let offset = 0;
  for (const part of parts) {
    result.set(part, offset);
    offset += part.length;
  }
  return result;
}
