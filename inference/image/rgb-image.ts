/** Pictures as bytes, and their encodings. */
import sharp, { type Sharp } from "sharp";

export interface RgbImage {
  readonly width: number;
  readonly height: number;
  /** [height, width, 3] */
  readonly data: Uint8Array;
}

/**
 * The original's arithmetic: 127.5 x + 128, clamped, truncated towards zero.
 *
 * pixels: [3, height, width] float32 in about [-1, 1]
 */
export function rgbImageOf(pixels: Float32Array, { width, height }: { width: number; height: number }): RgbImage {
  const plane = width * height;
  const data = new Uint8Array(3 * plane);
  for (let channel = 0; channel < 3; channel++) {
    for (let i = 0; i < plane; i++) {
      const value = Math.fround(Math.fround(127.5 * (pixels[channel * plane + i] ?? 0)) + 128);
      data[3 * i + channel] = Math.max(0, Math.min(255, value));
    }
  }
  return { width, height, data };
}

/** Equal pictures side by side, row by row, in a grid of `columns`. */
export function tile(images: readonly RgbImage[], columns: number): RgbImage {
  const [first] = images;
  if (first === undefined) throw new RangeError("no pictures to tile");
  const rows = Math.ceil(images.length / columns);
  const width = first.width * columns;
  const data = new Uint8Array(3 * width * first.height * rows);
  for (const [index, image] of images.entries()) {
    const left = (index % columns) * first.width;
    const top = Math.floor(index / columns) * first.height;
    for (let y = 0; y < image.height; y++) {
      data.set(image.data.subarray(3 * y * image.width, 3 * (y + 1) * image.width), 3 * ((top + y) * width + left));
    }
  }
  return { width, height: first.height * rows, data };
}

export const encodePng = (image: RgbImage): Promise<Buffer> => raw(image).png().toBuffer();

/** Pillow's quality for JPEG unless told otherwise, which the original's scripts use. */
const JPEG_QUALITY = 75;

/** By the file's ending: .png, .jpg, .jpeg or .webp. */
export async function writeImage(image: RgbImage, file: string): Promise<void> {
  const isJpeg = /\.jpe?g$/i.test(file);
  await (isJpeg ? raw(image).jpeg({ quality: JPEG_QUALITY }) : raw(image)).toFile(file);
}

/** Without loss, each pixel as a square of `scale` pixels; pixels with alpha 0 are transparent. rgba: [height, width, 4] */
export function encodeWebp(
  rgba: Uint8Array,
  { width, height }: { width: number; height: number },
  scale: number,
): Promise<Buffer> {
  return sharp(rgba, { raw: { width, height, channels: 4 } })
    .resize(width * scale, height * scale, { kernel: "nearest" })
    .webp({ lossless: true, effort: 0 })
    .toBuffer();
}

const raw = ({ width, height, data }: RgbImage): Sharp => sharp(data, { raw: { width, height, channels: 3 } });
