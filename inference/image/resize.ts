/**
 * Cropping, padding and resizing as Pillow does it, whose pictures the model was trained on: bicubic, widened when
 * shrinking, in integers with 22 bits after the point.
 * Source: src/libImaging/Resample.c of Pillow 9.4.
 */
import type { RgbImage } from "./rgb-image.ts";

export interface Size {
  readonly width: number;
  readonly height: number;
}

/** The largest part around the centre whose sides have the ratio of `size`. */
export function cropToAspect(image: RgbImage, size: Size): RgbImage {
  const width = Math.min(image.width, Math.floor((image.height * size.width) / size.height));
  const height = Math.min(image.height, Math.floor((image.width * size.height) / size.width));
  return crop(image, { width: Math.max(1, width), height: Math.max(1, height) });
}

function crop(image: RgbImage, { width, height }: Size): RgbImage {
  if (width === image.width && height === image.height) return image;
  const left = Math.floor((image.width - width) / 2);
  const top = Math.floor((image.height - height) / 2);
  const data = new Uint8Array(3 * width * height);
  for (let y = 0; y < height; y++) {
    const start = 3 * ((top + y) * image.width + left);
    data.set(image.data.subarray(start, start + 3 * width), 3 * y * width);
  }
  return { width, height, data };
}

/** The picture in the middle of a square of one grey level. */
export function padToSquare(image: RgbImage, level: number): RgbImage {
  if (image.width === image.height) return image;
  const side = Math.max(image.width, image.height);
  const left = Math.floor((side - image.width) / 2);
  const top = Math.floor((side - image.height) / 2);
  const data = new Uint8Array(3 * side * side).fill(level);
  for (let y = 0; y < image.height; y++) {
    data.set(image.data.subarray(3 * y * image.width, 3 * (y + 1) * image.width), 3 * ((top + y) * side + left));
  }
  return { width: side, height: side, data };
}

export function resizeBicubic(image: RgbImage, { width, height }: Size): RgbImage {
  const wide = width === image.width ? image : resizeRows(image, width);
  return height === image.height ? wide : transpose(resizeRows(transpose(wide), height));
}

const PRECISION_BITS = 22;
const SUPPORT = 2;

interface Kernel {
  /** First source pixel. */
  readonly first: number;
  /** Integers that sum to about 2^22. */
  readonly weights: Float64Array;
}

/** Sums stay below 2^53, so doubles hold them exactly. */
function resizeRows(image: RgbImage, width: number): RgbImage {
  const data = new Uint8Array(3 * width * image.height);
  for (const [x, { first, weights }] of kernelsOf(image.width, width).entries()) {
    for (let y = 0; y < image.height; y++) {
      const row = 3 * (y * image.width + first);
      for (let channel = 0; channel < 3; channel++) {
        let sum = 2 ** (PRECISION_BITS - 1);
        for (let i = 0; i < weights.length; i++) sum += (image.data[row + 3 * i + channel] ?? 0) * (weights[i] ?? 0);
        data[3 * (y * width + x) + channel] = Math.max(0, Math.min(255, Math.floor(sum / 2 ** PRECISION_BITS)));
      }
    }
  }
  return { width, height: image.height, data };
}

function kernelsOf(from: number, to: number): readonly Kernel[] {
  const scale = from / to;
  const widened = Math.max(1, scale);
  const support = SUPPORT * widened;
  return Array.from({ length: to }, (_, index) => {
    const center = (index + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    const end = Math.min(from, Math.trunc(center + support + 0.5));
    const weights = Float64Array.from({ length: end - first }, (_, i) =>
      bicubic((first + i - center + 0.5) * (1 / widened)),
    );
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return { first, weights: weights.map((weight) => roundAway((weight / sum) * 2 ** PRECISION_BITS)) };
  });
}

/** Keys' kernel with a = -0.5. */
function bicubic(distance: number): number {
  const a = -0.5;
  const x = Math.abs(distance);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

/** Half away from zero. */
const roundAway = (value: number): number => Math.trunc(value + Math.sign(value) * 0.5);

function transpose({ width, height, data }: RgbImage): RgbImage {
  const turned = new Uint8Array(data.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const from = 3 * (y * width + x);
      turned.set(data.subarray(from, from + 3), 3 * (x * height + y));
    }
  }
  return { width: height, height: width, data: turned };
}
