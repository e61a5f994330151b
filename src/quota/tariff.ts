/**
 * Prices in micro-credits, known before anything runs. One credit is one MAR step over a million pixels, or a hundred
 * tokens of an answer, times the factor of the preset.
 */

export type Work = DrawingWork | AnswerWork;

interface DrawingWork {
  readonly width: number;
  readonly height: number;
  /** Pictures. */
  readonly count: number;
  /** MAR steps. */
  readonly steps: number;
}

interface AnswerWork {
  /** Side of the picture that is read, in pixels. */
  readonly size: number;
  /** The most that an answer can have. */
  readonly tokens: number;
}

/** Of the pictures that are drawn. */
export const pixelsOf = (work: Work): bigint =>
  "steps" in work ? BigInt(work.width) * BigInt(work.height) * BigInt(work.count) : 0n;

const TOKEN_PRICE = 10_000n;

/** Decimals of a preset's factor. */
const FACTOR_UNIT = 1000;

/** What work costs with a preset: `factor` times what it costs by itself, rounded up. */
export function priceOf(work: Work, factor: number): bigint {
  const unit = BigInt(FACTOR_UNIT);
  return (effortOf(work) * BigInt(Math.round(factor * FACTOR_UNIT)) + unit - 1n) / unit;
}

/** Some of the steps, or tokens, before any factor; all of them unless told otherwise. Reading a picture is one step. */
export function effortOf(work: Work, stepsDone: number = Number.MAX_SAFE_INTEGER): bigint {
  if ("steps" in work) {
    return pixelsOf(work) * BigInt(Math.min(stepsDone, work.steps));
  }
  if (stepsDone === 0) return 0n;
  return BigInt(work.size) ** 2n + TOKEN_PRICE * BigInt(Math.min(stepsDone, work.tokens));
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
