/** Pictures that somebody brings: any common format, as the RGB that a viewer would show. */
import { readFile, stat } from "node:fs/promises";
import sharp, { type Metadata } from "sharp";
import type { RgbImage } from "./rgb-image.ts";

/** Bytes that are no picture, or one that is too large: the message says what is taken. */
export class InvalidImageError extends Error {
  override readonly name = "InvalidImageError";
}

const MAX_IMAGE_BYTES = 20 * 1000 * 1000;
const MAX_IMAGE_PIXELS = 25 * 1000 * 1000;
/** A picture may be padded to a square of its longer side. */
const MAX_IMAGE_SIDE = 16_384;
/** As the decoder names them; no formats that draw text or fetch files, as SVG and PDF do. */
const FORMATS: ReadonlySet<string> = new Set(["jpeg", "png", "webp", "gif", "tiff", "heif"]);
const TAKEN = "Give a JPEG, PNG, WebP, GIF, TIFF or AVIF file.";

/**
 * 8 bits a channel, turned as its EXIF orientation says, CMYK and palettes as RGB, transparency on white; of an
 * animation the first frame.
 *
 * @param source a file, or its bytes
 */
export async function readImage(source: string | Uint8Array): Promise<RgbImage> {
  const bytes = typeof source === "string" ? await readLimited(source) : source;
  requireBytes(bytes.byteLength);
  requireReadable(await metadataOf(bytes));
  try {
    const { data, info } = await sharp(bytes, { limitInputPixels: MAX_IMAGE_PIXELS, failOn: "error" })
      .rotate()
      .flatten({ background: "white" })
      .toColourspace("srgb")
      .removeAlpha()
      .raw({ depth: "uchar" })
      .toBuffer({ resolveWithObject: true });
    return { width: info.width, height: info.height, data: new Uint8Array(data) };
  } catch (cause) {
    throw new InvalidImageError("The picture is damaged or cut off. Save it again, or choose another one.", { cause });
  }
}

async function readLimited(file: string): Promise<Uint8Array> {
  requireBytes((await stat(file)).size);
  return readFile(file);
}

async function metadataOf(bytes: Uint8Array): Promise<Metadata> {
  try {
    return await sharp(bytes, { limitInputPixels: false }).metadata();
  } catch (cause) {
    throw new InvalidImageError(`This is no picture that can be read. ${TAKEN}`, { cause });
  }
}

function requireBytes(size: number): void {
  if (size > MAX_IMAGE_BYTES) {
    throw new InvalidImageError(
      `The picture has ${megabytes(size)} MB; up to ${megabytes(MAX_IMAGE_BYTES)} MB are taken. Make it smaller.`,
    );
  }
}

function requireReadable({ format, width, height }: Metadata): void {
  if (format === undefined || !FORMATS.has(format)) {
    throw new InvalidImageError(`Pictures of the format ${format ?? "unknown"} are not taken. ${TAKEN}`);
  }
  if (width * height > MAX_IMAGE_PIXELS) {
    throw new InvalidImageError(
      `The picture has ${width} x ${height} pixels; up to ${MAX_IMAGE_PIXELS / 1e6} million are taken. Make it smaller.`,
    );
  }
  if (Math.max(width, height) > MAX_IMAGE_SIDE) {
    throw new InvalidImageError(
      `The picture has ${width} x ${height} pixels; sides of up to ${MAX_IMAGE_SIDE} are taken. Make it smaller.`,
    );
  }
}

const megabytes = (size: number): string => (size / 1e6).toFixed(0);
