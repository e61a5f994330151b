/** Prices in micro-credits, known before anything runs. One credit is one MAR step over a million pixels. */

export interface Work {
  readonly width: number;
  readonly height: number;
  /** Pictures. */
  readonly count: number;
  /** MAR steps. */
  readonly steps: number;
}

/** The price of some of the steps; of all of them unless told otherwise. */
export function priceOf({ width, height, count, steps }: Work, stepsDone: number = steps): bigint {
  return BigInt(width) * BigInt(height) * BigInt(count) * BigInt(Math.min(stepsDone, steps));
}

const MICRO = 1_000_000n;

/** "33.554432": credits with up to six decimals. */
export function formatCredits(microCredits: bigint): string {
  const sign = microCredits < 0n ? "-" : "";
  const size = microCredits < 0n ? -microCredits : microCredits;
  const decimals = (size % MICRO).toString().padStart(6, "0").replace(/0+$/, "");
  return `${sign}${size / MICRO}${decimals === "" ? "" : `.${decimals}`}`;
}

export const credits = (whole: number): bigint => BigInt(whole) * MICRO;
