import { describe, expect, test } from "vitest";
import { drawnToken, likeliestToken, penalize } from "../../inference/sampling/next-token.ts";
import { tokenFraction } from "../../inference/sampling/randomness.ts";

const LOG2 = Math.log(2);
/** Probabilities 1/2, 1/4, 1/8, 1/8 at temperature 1, in another order. */
const LOGITS = Float32Array.of(1 * LOG2, 3 * LOG2, 1 * LOG2, 2 * LOG2);

/** How often each token is drawn, for fractions that are spread evenly. */
function sharesOf(sampling: { temperature: number; topP: number }): number[] {
  const shares = [0, 0, 0, 0];
  const draws = 800;
  for (let i = 0; i < draws; i++) {
    const id = drawnToken(LOGITS, sampling, (i + 0.5) / draws);
    shares[id] = (shares[id] ?? 0) + 1 / draws;
  }
  return shares.map((share) => Number(share.toFixed(3)));
}

describe("drawing a token", () => {
  test("follows the probabilities", () => {
    expect(sharesOf({ temperature: 1, topP: 1 })).toEqual([0.125, 0.5, 0.125, 0.25]);
  });

  test("at a low temperature takes the likeliest, at a high one any", () => {
    expect(sharesOf({ temperature: 0.01, topP: 1 })).toEqual([0, 1, 0, 0]);
    for (const share of sharesOf({ temperature: 1000, topP: 1 })) expect(share).toBeCloseTo(0.25, 2);
  });

  test.each([
    [0.01, [0, 1, 0, 0]],
    [0.5, [0, 1, 0, 0]],
    [0.51, [0, 0.667, 0, 0.333]],
    [0.8, [0.143, 0.571, 0, 0.286]], // the first of two equals
    [0.99, [0.125, 0.5, 0.125, 0.25]],
  ])("from the fewest tokens that reach %d together", (topP, shares) => {
    for (const [id, share] of sharesOf({ temperature: 1, topP }).entries()) {
      expect(Math.abs(share - (shares[id] ?? 0))).toBeLessThan(0.003);
    }
  });

  test("never takes a token that is ruled out", () => {
    const logits = Float32Array.of(Number.NEGATIVE_INFINITY, 0, Number.NEGATIVE_INFINITY);
    for (const fraction of [0, 0.5, 1 - 2 ** -53]) {
      expect(drawnToken(logits, { temperature: 1, topP: 1 }, fraction)).toBe(1);
    }
  });
});

test("the likeliest token is the first of equals", () => {
  expect(likeliestToken(Float32Array.of(-3, 2, 2, 1))).toBe(1);
});

test("a penalty makes what was said already less likely, whatever its sign", () => {
  const logits = Float32Array.of(2, -2, 2, -2);
  penalize(logits, [0, 1], 2);
  expect([...logits]).toEqual([1, -4, 2, -2]);
});

test("what decides about a token depends on the seed and its place alone", () => {
  const fractions = [
    tokenFraction(1n, 0),
    tokenFraction(1n, 1),
    tokenFraction(2n, 0),
    tokenFraction(2n ** 64n - 1n, 0),
  ];
  expect(new Set(fractions).size).toBe(4);
  expect(fractions.every((fraction) => fraction >= 0 && fraction < 1)).toBe(true);
  expect(tokenFraction(1n, 1)).toBe(fractions[1]);
});
