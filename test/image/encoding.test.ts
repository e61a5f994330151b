import { join } from "node:path";
import sharp from "sharp";
import { describe, expect, test } from "vitest";
import { encodePng, encodeWebp, type RgbImage, writeImage } from "../../inference/image/rgb-image.ts";
import { createFolder } from "../checkpoint/temporary-folder.ts";

/** A smooth picture with another value in every channel. */
function setup(): { image: RgbImage; folder: string } {
  const [width, height] = [24, 16];
  const data = Uint8Array.from({ length: 3 * width * height }, (_, i) => {
    const [x, y] = [Math.floor(i / 3) % width, Math.floor(i / 3 / width)];
    return [10 * x, 15 * y, 255 - 5 * (x + y)][i % 3]!;
  });
  return { image: { width, height, data }, folder: createFolder() };
}

/** Pixels of an encoded picture, and what it says of itself. */
async function decode(file: Buffer | string) {
  const { format, width, height, hasAlpha } = await sharp(file).metadata();
  return { format, width, height, hasAlpha, data: new Uint8Array(await sharp(file).raw().toBuffer()) };
}

test("a PNG holds every pixel", async () => {
  const { image } = setup();
  expect(await decode(await encodePng(image))).toEqual({ format: "png", hasAlpha: false, ...image });
});

test("the same picture always has the same PNG bytes", async () => {
  expect(await encodePng(setup().image)).toEqual(await encodePng(setup().image));
});

describe("a picture in a file", () => {
  test.each([
    ["picture.png", "png", 0],
    ["picture.jpg", "jpeg", 24],
    ["picture.JPEG", "jpeg", 24],
    ["picture.webp", "webp", 24],
  ])("%s has the format %s and the picture's pixels, within %d levels", async (name, format, levels) => {
    const { image, folder } = setup();
    await writeImage(image, join(folder, name));
    const written = await decode(join(folder, name));
    expect(written).toMatchObject({ format, width: image.width, height: image.height });
    const worst = Math.max(...image.data.map((value, i) => Math.abs(value - written.data[i]!)));
    expect(worst).toBeLessThanOrEqual(levels);
  });
});

describe("the WebP of a preview", () => {
  /** 3 x 2 patches, the second and the last one unknown. */
  const patches = Uint8Array.from(
    [
      [255, 0, 0, 255],
      [1, 2, 3, 0],
      [0, 255, 0, 255],
      [0, 0, 255, 255],
      [200, 100, 50, 255],
      [0, 0, 0, 0],
    ].flat(),
  );

  test("holds every known colour exactly, as squares, and is transparent where nothing is known", async () => {
    const scale = 5;
    const webp = await encodeWebp(patches, { width: 3, height: 2 }, scale);
    const decoded = await decode(webp);
    expect(decoded).toMatchObject({ format: "webp", width: 15, height: 10, hasAlpha: true });
    for (let y = 0; y < 10; y++) {
      for (let x = 0; x < 15; x++) {
        const patch = Math.floor(y / scale) * 3 + Math.floor(x / scale);
        const expected = [...patches.subarray(4 * patch, 4 * patch + 4)];
        const actual = [...decoded.data.subarray(4 * (15 * y + x), 4 * (15 * y + x) + 4)];
        if (expected[3] === 0) expect(actual[3]).toBe(0);
        else expect(actual).toEqual(expected);
      }
    }
  });

  test("of known patches only is opaque", async () => {
    const webp = await encodeWebp(new Uint8Array(4 * 4).fill(255), { width: 2, height: 2 }, 1);
    expect(await sharp(webp).stats()).toMatchObject({ isOpaque: true });
  });
});
