import { describe, expect, test } from "vitest";
import { type Counter, type Key, keyOfSeed, philox } from "../../inference/sampling/philox.ts";

/** The known-answer vectors of Philox4x32-10 in Random123 (kat_vectors), as hexadecimal words. */
const KNOWN_ANSWERS = [
  {
    input: "zeros",
    counter: "00000000 00000000 00000000 00000000",
    key: "00000000 00000000",
    output: "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
  },
  {
    input: "ones",
    counter: "ffffffff ffffffff ffffffff ffffffff",
    key: "ffffffff ffffffff",
    output: "408f276d 41c83b0e a20bc7c6 6d5451fd",
  },
  {
    input: "digits of pi",
    counter: "243f6a88 85a308d3 13198a2e 03707344",
    key: "a4093822 299f31d0",
    output: "d16cfe09 94fdcceb 5001e420 24126ea1",
  },
];

const words = (hex: string): number[] => hex.split(" ").map((word) => Number.parseInt(word, 16));

function philoxOf(key: Key, counter: Counter): Uint32Array {
  const out = new Uint32Array(4);
  philox(key, counter, out);
  return out;
}

describe("Philox4x32-10", () => {
  test.each(KNOWN_ANSWERS)("gives the published answer for $input", ({ counter, key, output }) => {
    const actual = philoxOf(words(key) as unknown as Key, words(counter) as unknown as Counter);
    expect([...actual]).toEqual(words(output));
  });

  test("reads signed and unsigned words alike", () => {
    expect(philoxOf([-1, -1], [-1, -1, -1, -1])).toEqual(Uint32Array.from(words(KNOWN_ANSWERS[1]!.output)));
  });

  test("leaves the counter and the key as they are", () => {
    const counter: Counter = [1, 2, 3, 4];
    const key: Key = [5, 6];
    philoxOf(key, counter);
    expect([counter, key]).toEqual([
      [1, 2, 3, 4],
      [5, 6],
    ]);
  });
});

test.each<[bigint, Key]>([
  [0n, [0, 0]],
  [1n, [1, 0]],
  [2n ** 32n, [0, 1]],
  [0x299f31d0_a4093822n, [0xa4093822, 0x299f31d0]],
  [2n ** 64n - 1n, [0xffffffff, 0xffffffff]],
])("the seed %d has its low half first in the key", (seed, key) => {
  expect(keyOfSeed(seed)).toEqual(key);
});
