/** Peak signal-to-noise ratio in dB: 10 log10(range of the expected values squared / mean squared error). */
export function psnr(actual: Float32Array, expected: Float32Array): number {
  const squares = expected.reduce((sum, value, i) => sum + (value - (actual[i] ?? Number.NaN)) ** 2, 0);
  const range = expected.reduce((a, b) => Math.max(a, b)) - expected.reduce((a, b) => Math.min(a, b));
  return 10 * Math.log10(range ** 2 / (squares / expected.length));
}
