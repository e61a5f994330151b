/**
 * The inverse of the standard normal distribution, in additions, multiplications, divisions and square roots only: IEEE
 * 754 fixes those to the last bit, so every engine on every machine gives the same numbers (Math.log may differ).
 * Source: M. J. Wichura, "Algorithm AS 241: the percentage points of the normal distribution" (1988), PPND16.
 */

const CENTRAL_NUMERATOR = [
  3.3871328727963665, 133.14166789178438, 1971.5909503065513, 13731.69376550946, 45921.95393154987, 67265.7709270087,
  33430.57558358813, 2509.0809287301227,
];
const CENTRAL_DENOMINATOR = [
  1, 42.31333070160091, 687.1870074920579, 5394.196021424751, 21213.794301586597, 39307.89580009271, 28729.085735721943,
  5226.495278852546,
];
const MIDDLE_NUMERATOR = [
  1.4234371107496835, 4.630337846156546, 5.769497221460691, 3.6478483247632045, 1.2704582524523684, 0.2417807251774506,
  0.022723844989269184, 0.0007745450142783414,
];
const MIDDLE_DENOMINATOR = [
  1, 2.053191626637759, 1.6763848301838038, 0.6897673349851, 0.14810397642748008, 0.015198666563616457,
  0.0005475938084995345, 1.0507500716444169e-9,
];

/** A standard normal number for a uniform 32-bit number: the quantile in the middle of its interval. */
export function normalOf(uniform: number): number {
  const q = (uniform + 0.5) / 0x100000000 - 0.5;
  if (Math.abs(q) <= 0.425) {
    const r = 0.180625 - q * q;
    return (q * polynomial(CENTRAL_NUMERATOR, r)) / polynomial(CENTRAL_DENOMINATOR, r);
  }
  const tail = q < 0 ? q + 0.5 : 0.5 - q;
  // At most 4.8 for 32-bit numbers: the published third pair of polynomials, for r > 5, is never reached.
  const r = Math.sqrt(-naturalLogarithm(tail)) - 1.6;
  const size = polynomial(MIDDLE_NUMERATOR, r) / polynomial(MIDDLE_DENOMINATOR, r);
  return q < 0 ? -size : size;
}

function polynomial(coefficients: readonly number[], x: number): number {
  let sum = 0;
  for (let i = coefficients.length - 1; i >= 0; i--) sum = sum * x + (coefficients[i] ?? 0);
  return sum;
}

/** ln(x) for 0 < x < 1, as 2 atanh((m - 1) / (m + 1)) of the mantissa m in [2/3, 4/3] plus the exponent's share. */
function naturalLogarithm(x: number): number {
  let mantissa = x;
  let exponent = 0;
  while (mantissa < 2 / 3) {
    mantissa *= 2;
    exponent--;
  }
  const z = (mantissa - 1) / (mantissa + 1); // |z| <= 1/5: 12 terms are exact to 1e-17
  const square = z * z;
  let sum = 0;
  for (let n = 23; n >= 1; n -= 2) sum = sum * square + 1 / n;
  return 2 * z * sum + exponent * Math.LN2;
}
