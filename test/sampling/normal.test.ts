import { expect, test } from "vitest";
import { normalOf } from "../../inference/sampling/normal.ts";
import { philox } from "../../inference/sampling/philox.ts";

const WORDS = 2 ** 32;

/** Wichura's PPND16 is good to about 16 digits; a few roundings come on top. */
const RELATIVE_LIMIT = 4e-15;

/**
 * Quantiles of (u + 1/2) / 2^32, computed with 60 decimal digits (Newton's method on the series of the distribution) and
 * rounded to fp64: both ends, the middle, the borders between two approximations (0.075 and 0.925), and places in between.
 */
const QUANTILES: readonly [uniform: number, quantile: number][] = [
  [0, -6.3379577545537895],
  [1, -6.166429517819751],
  [2, -6.085104545783031],
  [1000, -5.0398511259687115],
  [0x10000000, -1.5341205434059568],
  [322_122_547, -1.4395314704450153],
  [0x12345678, -1.4675657314922324],
  [0x40000000, -0.6744897498297384],
  [0x7fffffff, -2.918099372916623e-10],
  [0x80000000, 2.918099372916623e-10],
  [0x9abcdef0, 0.2648680410085975],
  [3_972_844_749, 1.4395314720898174],
  [0xf0000000, 1.534120545299136],
  [0xfffffff0, 5.785777965471043],
  [0xffffffff, 6.3379577545537895],
];

test.each(QUANTILES)("the word %d becomes its quantile", (uniform, quantile) => {
  expect(Math.abs(normalOf(uniform) / quantile - 1)).toBeLessThan(RELATIVE_LIMIT);
});

test("textbook quantiles come out as near as 32 bits of the probability allow", () => {
  for (const [probability, quantile] of [
    [0.5, 0],
    [0.841344746068543, 1],
    [0.975, 1.959963984540054],
    [0.995, 2.5758293035489004],
    [0.9986501019683699, 3],
  ] as const) {
    const density = Math.exp(-(quantile ** 2) / 2) / Math.sqrt(2 * Math.PI);
    const grid = 1 / WORDS / density;
    expect(Math.abs(normalOf(Math.floor(probability * WORDS)) - quantile)).toBeLessThan(grid);
  }
});

test("is antisymmetric to the last bit", () => {
  for (let uniform = 0; uniform < WORDS; uniform += 9_999_991) {
    expect(normalOf(WORDS - 1 - uniform)).toBe(-normalOf(uniform));
  }
});

test("grows with the word, also over the borders of the approximations", () => {
  const borders = [0.075, 0.5, 0.925].map((share) => Math.round(share * WORDS));
  const starts = [0, ...borders.map((border) => border - 500), WORDS - 1000];
  for (const start of starts) {
    for (let uniform = start; uniform < start + 999; uniform++) {
      expect(normalOf(uniform + 1)).toBeGreaterThan(normalOf(uniform));
    }
  }
  let previous = Number.NEGATIVE_INFINITY;
  for (let uniform = 0; uniform < WORDS; uniform += 99_991) {
    const value = normalOf(uniform);
    expect(value).toBeGreaterThan(previous);
    previous = value;
  }
});

test("100 000 draws have the moments of a standard normal distribution", () => {
  const block = new Uint32Array(4);
  const draws = Array.from({ length: 25_000 }, (_, counter) => {
    philox([2024, 6], [counter, 0, 0, 0], block);
    return [...block].map(normalOf);
  }).flat();
  const moment = (power: number): number => draws.reduce((sum, value) => sum + value ** power, 0) / draws.length;
  // Four standard errors of each moment: sqrt(1, 2, 15, 96) / sqrt(100 000).
  expect(Math.abs(moment(1))).toBeLessThan(0.0127);
  expect(Math.abs(moment(2) - 1)).toBeLessThan(0.0179);
  expect(Math.abs(moment(3))).toBeLessThan(0.049);
  expect(Math.abs(moment(4) - 3)).toBeLessThan(0.124);
});
