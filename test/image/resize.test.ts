import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { readImage } from "../../inference/image/read-image.ts";
import { cropToAspect, padToSquare, resizeBicubic } from "../../inference/image/resize.ts";
import type { RgbImage } from "../../inference/image/rgb-image.ts";
import { loadRecording } from "../support/golden.ts";

const COMMON = "test/golden/common";
const recorded = loadRecording(join(COMMON, "preprocess.safetensors"));

describe("preprocessing equals Pillow's", () => {
  test.each(recorded.names)("%s", async (name) => {
    const [, file = "", kind = "", side = 0] = /^(pre\d)\.(edit_crop|i2t_pad)_resize_(\d+)$/.exec(name) ?? [];
    const picture = await readImage(join(COMMON, `${file}.png`));
    const size = { width: Number(side), height: Number(side) };
    const square = kind === "edit_crop" ? cropToAspect(picture, size) : padToSquare(picture, 127);
    expect(largestDifference(resizeBicubic(square, size).data, recorded.get(name).values)).toBe(0);
  });
});

test("a picture is cropped around its centre to the shape of a drawing that is not square", () => {
  const wide = cropToAspect(gradient(100, 40), { width: 32, height: 48 });
  expect([wide.width, wide.height]).toEqual([26, 40]);
  expect(wide.data[0]).toBe(37); // column (100 - 26) / 2
});

/** The red channel of a pixel is its column. */
function gradient(width: number, height: number): RgbImage {
  const data = new Uint8Array(3 * width * height);
  for (let i = 0; i < width * height; i++) data[3 * i] = i % width;
  return { width, height, data };
}

function largestDifference(actual: Uint8Array, expected: Float32Array): number {
  expect(actual.length).toBe(expected.length);
  return expected.reduce((worst, value, i) => Math.max(worst, Math.abs(value - actual[i]!)), 0);
}
