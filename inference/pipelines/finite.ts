/**
 * Returns the values if all of them are finite; anything else would be written as a black picture. A picture of 1024
 * pixels a side has 3 million, which takes 10 ms.
 */
export function requireFinite(values: Float32Array, what: "latents" | "pixels"): Float32Array {
  for (let i = 0; i < values.length; i++) {
    if (Number.isFinite(values[i])) continue;
    throw new Error(
      `The model produced numbers that are not finite, in the ${what} of a picture. ` +
        "Its checkpoint may be damaged: download it again and build the model anew.",
    );
  }
  return values;
}
