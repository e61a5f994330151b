import { describe, expect, test } from "vitest";
import { rgbImageOf, tile } from "../../inference/image/rgb-image.ts";

/** The byte that a pixel value becomes, in all three channels of a picture of one pixel. */
function byteOf(value: number): number {
  const { data } = rgbImageOf(Float32Array.of(value, value, value), { width: 1, height: 1 });
  expect(new Set(data).size).toBe(1);
  return data[0]!;
}

describe("a pixel value becomes 127.5 x + 128", () => {
  test.each([
    [0, 128],
    [1 / 127.5, 129],
    [0.5, 191], // 191.75
    [-0.5, 64], // 64.25
    [0.9999, 255], // 255.487
    [-1, 0], // 0.5
    [-0.997, 0], // 0.88
    [-0.996, 1], // 1.01
  ])("%d is truncated to %d", (value, byte) => {
    expect(byteOf(value)).toBe(byte);
  });

  test.each([
    [1, 255], // 255.5
    [1.1, 255],
    [3, 255], // 510.5 would wrap to 254
    [Number.POSITIVE_INFINITY, 255],
    [-1.01, 0],
    [-3, 0], // -254.5 would wrap to 2
    [Number.NEGATIVE_INFINITY, 0],
  ])("%d is clamped to %d", (value, byte) => {
    expect(byteOf(value)).toBe(byte);
  });

  test("that is not a number is black", () => {
    expect(byteOf(Number.NaN)).toBe(0);
  });

  test("is computed in fp32", () => {
    // In fp64 this is 1.9999999, truncated to 1; the nearest fp32 number is 2.
    const value = Math.fround(-126 / 127.5);
    expect(Math.trunc(127.5 * value + 128)).toBe(1);
    expect(byteOf(value)).toBe(2);
  });
});

test("planes of colours become pixels of three bytes, row by row", () => {
  // [3, 2, 3]: the byte says channel, row and column.
  const bytes = [0, 1, 2].flatMap((channel) =>
    [0, 1].flatMap((row) => [0, 1, 2].map((column) => 100 * channel + 10 * row + column)),
  );
  const pixels = Float32Array.from(bytes, (byte) => (byte + 0.5 - 128) / 127.5);
  expect(rgbImageOf(pixels, { width: 3, height: 2 })).toEqual({
    width: 3,
    height: 2,
    data: Uint8Array.from(
      [
        [0, 100, 200, 1, 101, 201, 2, 102, 202],
        [10, 110, 210, 11, 111, 211, 12, 112, 212],
      ].flat(),
    ),
  });
});

describe("tiling", () => {
  /** A picture of 2 x 1 pixels: grey `shade`, then `shade` + 1. */
  const picture = (shade: number) => ({
    width: 2,
    height: 1,
    data: Uint8Array.of(shade, shade, shade, shade + 1, shade + 1, shade + 1),
  });
  const greys = (data: Uint8Array): number[] => [...data].filter((_, index) => index % 3 === 0);

  test("puts pictures side by side, row by row", () => {
    const tiled = tile([10, 20, 30, 40].map(picture), 2);
    expect([tiled.width, tiled.height]).toEqual([4, 2]);
    expect(greys(tiled.data)).toEqual([10, 11, 20, 21, 30, 31, 40, 41]);
  });

  test("of one picture is that picture", () => {
    expect(tile([picture(7)], 1)).toEqual(picture(7));
  });

  test("leaves missing pictures of the last row black", () => {
    expect(greys(tile([10, 20, 30].map(picture), 2).data)).toEqual([10, 11, 20, 21, 30, 31, 0, 0]);
  });

  test("of no picture is an error", () => {
    expect(() => tile([], 2)).toThrow(RangeError);
  });
});
