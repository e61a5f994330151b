import { describe, expect, test } from "vitest";
import { maskSteps, placesOfStep } from "../../inference/sampling/mask-schedule.ts";
import { seededRandomness } from "../../inference/sampling/randomness.ts";

const LARGEST_SEED = 2n ** 64n - 1n;
const ascending = (values: Iterable<number>): number[] => [...values].sort((a, b) => a - b);
const range = (length: number): number[] => Array.from({ length }, (_, index) => index);

describe("the reveal order of a seed", () => {
  /** Recorded once from this code. A change here changes every picture of every seed that users have kept. */
  test.each<[seed: bigint, image: number, order: readonly number[]]>([
    [0n, 0, [15, 2, 1, 5, 4, 10, 3, 12, 0, 11, 13, 7, 9, 8, 14, 6]],
    [0n, 1, [15, 10, 11, 12, 7, 2, 0, 1, 14, 6, 8, 3, 4, 5, 13, 9]],
    [1n, 0, [0, 6, 8, 2, 3, 5, 15, 1, 12, 10, 11, 14, 13, 9, 7, 4]],
    [LARGEST_SEED, 0, [10, 4, 13, 9, 15, 11, 7, 3, 5, 12, 0, 6, 1, 2, 14, 8]],
    [LARGEST_SEED, 1, [11, 2, 1, 3, 6, 15, 13, 10, 9, 8, 5, 7, 12, 14, 0, 4]],
  ])("%d is the recorded one for picture %d", (seed, image, order) => {
    expect([...seededRandomness(seed).order(image, 16)]).toEqual(order);
  });

  test.each([1, 2, 36, 4096])("is a permutation of %d places", (count) => {
    expect(ascending(seededRandomness(5n).order(0, count))).toEqual(range(count));
  });

  test("differs between pictures and seeds", () => {
    const orders = [0n, 1n, 2n ** 32n, LARGEST_SEED].flatMap((seed) =>
      range(4).map((image) => seededRandomness(seed).order(image, 36).join()),
    );
    expect(new Set(orders).size).toBe(orders.length);
  });

  test("puts every place anywhere equally often", () => {
    const [count, draws] = [6, 6000];
    const tallies = range(count).map(() => new Array<number>(count).fill(0));
    for (let image = 0; image < draws; image++) {
      for (const [position, place] of seededRandomness(3n).order(image, count).entries()) tallies[position]![place]!++;
    }
    // Five standard deviations of a binomial count.
    const expected = draws / count;
    const tolerance = 5 * Math.sqrt(expected * (1 - 1 / count));
    for (const tally of tallies.flat()) expect(Math.abs(tally - expected)).toBeLessThan(tolerance);
  });
});

describe("the places of a step", () => {
  test("are revealed once each, from the end of the order towards its start", () => {
    const order = seededRandomness(11n).order(0, 36);
    const revealed: number[] = [];
    for (const step of maskSteps({ tokenCount: 36, steps: 7 })) {
      const { visible, predicted } = placesOfStep(order, step);
      expect([...visible]).toEqual(ascending(revealed));
      const next = [...order.subarray(36 - revealed.length - predicted.length, 36 - revealed.length)];
      expect([...predicted]).toEqual(ascending(next));
      revealed.push(...predicted);
    }
    expect(ascending(revealed)).toEqual(range(36));
  });

  test("leave the order itself as it is", () => {
    const order = seededRandomness(11n).order(0, 16);
    const before = [...order];
    for (const step of maskSteps({ tokenCount: 16, steps: 4 })) placesOfStep(order, step);
    expect([...order]).toEqual(before);
  });
});
