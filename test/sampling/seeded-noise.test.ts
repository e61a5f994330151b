import { describe, expect, test } from "vitest";
import { normalOf } from "../../inference/sampling/normal.ts";
import { type NoiseDraw, seededRandomness } from "../../inference/sampling/randomness.ts";

const LARGEST_SEED = 2n ** 64n - 1n;
const CHANNELS = 16;

/** [places, channels] */
function noiseOf(seed: bigint, draw: Omit<NoiseDraw, "places"> & { places: number[] }, channels = CHANNELS): number[] {
  const out = new Float32Array(draw.places.length * channels);
  seededRandomness(seed).fillNoise(out, { ...draw, places: Uint32Array.from(draw.places) });
  return [...out];
}

const FIRST = { image: 0, step: 0, draw: 0, places: [0] };
const LATER = { image: 3, step: 17, draw: 25, places: [4095] };

/** Recorded once from this code. A change here changes every picture of every seed that users have kept. */
const VECTORS: readonly [seed: bigint, draw: typeof FIRST, values: readonly number[]][] = [
  [0n, FIRST, [-0.2558159828186035, 1.1775912046432495, 0.6301836371421814, 0.26756224036216736]],
  [0n, LATER, [0.5745216012001038, 0.30711421370506287, 0.9958634972572327, -1.1070653200149536]],
  [1n, FIRST, [1.227907657623291, 1.251833438873291, 0.21656405925750732, 0.55709308385849]],
  [LARGEST_SEED, FIRST, [-0.13116589188575745, -1.3843944072723389, 0.31099048256874084, -1.1045929193496704]],
  [LARGEST_SEED, LATER, [0.11790456622838974, -0.12163480371236801, 0.82550048828125, 0.11100739240646362]],
];

describe("the noise of a seed", () => {
  test.each(VECTORS)("%d is the recorded one (draw %o)", (seed, draw, values) => {
    expect(noiseOf(seed, draw).slice(0, 4)).toEqual([...Float32Array.from(values)]);
  });

  test("starts with the published Philox answer for a zero key and a zero counter", () => {
    const words = [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8];
    expect(noiseOf(0n, FIRST).slice(0, 4)).toEqual([...Float32Array.from(words, normalOf)]);
  });

  test("is the same again, whatever was drawn before", () => {
    const randomness = seededRandomness(7n);
    const places = Uint32Array.of(5);
    const [first, again] = [new Float32Array(CHANNELS), new Float32Array(CHANNELS)];
    randomness.fillNoise(first, { image: 0, step: 2, draw: 1, places });
    randomness.order(0, 64);
    randomness.fillNoise(new Float32Array(CHANNELS), { image: 1, step: 9, draw: 4, places });
    randomness.fillNoise(again, { image: 0, step: 2, draw: 1, places });
    expect(again).toEqual(first);
  });

  test("at a place does not depend on the other places of the draw, nor on their order", () => {
    const draw = { image: 1, step: 3, draw: 2 };
    const together = noiseOf(9n, { ...draw, places: [40, 3, 17, 0] });
    for (const [row, place] of [40, 3, 17, 0].entries()) {
      const alone = noiseOf(9n, { ...draw, places: [place] });
      expect(together.slice(row * CHANNELS, (row + 1) * CHANNELS)).toEqual(alone);
    }
  });

  test("fills rows whose width is no multiple of four without touching their neighbours", () => {
    const places = [2, 3];
    const wide = noiseOf(9n, { ...FIRST, places }, 8);
    for (const channels of [5, 6, 7]) {
      const narrow = noiseOf(9n, { ...FIRST, places }, channels);
      const expected = [wide.slice(0, channels), wide.slice(8, 8 + channels)].flat();
      expect(narrow).toEqual(expected);
    }
  });

  test("differs between seeds, pictures, steps, draws and places", () => {
    const draws = [
      noiseOf(1n, FIRST),
      noiseOf(2n, FIRST),
      noiseOf(1n + 2n ** 32n, FIRST),
      noiseOf(1n, { ...FIRST, image: 1 }),
      noiseOf(1n, { ...FIRST, step: 1 }),
      noiseOf(1n, { ...FIRST, draw: 1 }),
      noiseOf(1n, { ...FIRST, places: [1] }),
    ];
    const values = draws.flat();
    expect(new Set(values).size).toBe(values.length);
  });
});
