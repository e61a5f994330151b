/**
 * A program of its own, because decoders are the first thing that a hostile file meets: it takes a picture on its standard
 * input and writes it to its standard output as a line of facts (JSON) and a plain PNG. Run by picture-normaliser.ts with
 * little memory, without environment. Ends with 2 and a sentence on its standard error when the picture is refused.
 *
 * The PNG reads as the picture itself would: 8 bits a channel, turned as its EXIF orientation says, CMYK and palettes as
 * RGB, transparency on white, of an animation the first frame; without any metadata.
 */
import sharp from "sharp";

const MAX_PIXELS = 25_000_000;
/** A PNG of as many pixels has at most 18 MB, however noisy: workers take 20 MB. */
const KEPT_PIXELS = 6_000_000;
/** Workers lay a picture on a square as long as its longer side. */
const KEPT_SIDE = 4096;
const REFUSED = 2;
const LOADERS = ["Jpeg", "Png", "Webp", "Nsgif", "Tiff", "Heif"];
/** As libvips, libheif and glib say it when an allocation, or the stack of a thread, was refused. */
const OUT_OF_MEMORY = /out of memory|memory allocation error|error creating thread|cannot allocate/i;

interface RawPicture {
  readonly data: Buffer;
  readonly info: { readonly width: number; readonly height: number };
}

class Refusal extends Error {}

// Loaders that draw text, fetch files or were not asked for cannot be reached, whatever a file claims to be.
sharp.block({ operation: ["VipsForeignLoad"] });
sharp.unblock({ operation: LOADERS.map((name) => `VipsForeignLoad${name}Buffer`) });
sharp.cache(false);
sharp.concurrency(1);
try {
  await normalise(await readAll(process.stdin));
} catch (error) {
  if (!(error instanceof Refusal)) throw error;
  process.exitCode = REFUSED;
  process.stderr.write(error.message);
}

async function normalise(bytes: Buffer): Promise<void> {
  await requireFewPixels(bytes);
  const picture = await decode(bytes).then(shrink).catch(refuseDamaged);
  const { width, height } = picture.info;
  const png = await sharp(picture.data, rawOf(picture)).png().toBuffer().catch(refuseDamaged);
  process.stdout.write(`${JSON.stringify({ width, height, brightest: brightestOf(picture.data) })}\n`);
  process.stdout.write(png);
}

async function requireFewPixels(bytes: Buffer): Promise<void> {
  const { width, height } = await sharp(bytes, { limitInputPixels: false })
    .metadata()
    .catch((error: unknown) => {
      if (isOutOfMemory(error)) return refuseDamaged(error);
      throw new Refusal("This is no picture that can be read. Save it again as JPEG or PNG, or choose another one.");
    });
  if (width * height > MAX_PIXELS) {
    throw new Refusal(
      `The picture has ${width} x ${height} pixels; up to ${MAX_PIXELS / 1e6} million are taken. Make it smaller.`,
    );
  }
}

function decode(bytes: Buffer): Promise<RawPicture> {
  return sharp(bytes, { limitInputPixels: MAX_PIXELS, failOn: "error" })
    .rotate()
    .flatten({ background: "white" })
    .toColourspace("srgb")
    .removeAlpha()
    .raw({ depth: "uchar" })
    .toBuffer({ resolveWithObject: true });
}

/** From the pixels, so that pictures of one size become pictures of one size, pixel on pixel: a mask fits its picture. */
async function shrink(picture: RawPicture): Promise<RawPicture> {
  const { width, height } = picture.info;
  const scale = Math.min(Math.sqrt(KEPT_PIXELS / (width * height)), KEPT_SIDE / Math.max(width, height));
  if (scale >= 1) return picture;
  const kept = (side: number): number => Math.max(1, Math.floor(side * scale));
  return sharp(picture.data, rawOf(picture))
    .resize({ width: kept(width), height: kept(height), fit: "fill" })
    .raw()
    .toBuffer({ resolveWithObject: true });
}

function rawOf({ info: { width, height } }: RawPicture) {
  return { raw: { width, height, channels: 3 as const } };
}

/** Mean of the three channels of the brightest pixel, rounded down. data: [pixels, 3] */
function brightestOf(data: Buffer): number {
  let brightest = 0;
  for (let i = 0; i < data.length; i += 3) {
    brightest = Math.max(brightest, (data[i] ?? 0) + (data[i + 1] ?? 0) + (data[i + 2] ?? 0));
  }
  return Math.floor(brightest / 3);
}

function refuseDamaged(cause: unknown): never {
  const advice = isOutOfMemory(cause)
    ? "The picture takes too much memory to be read. Make it smaller, or save it as JPEG."
    : "The picture is damaged or cut off. Save it again, or choose another one.";
  throw new Refusal(advice, { cause });
}

function isOutOfMemory(error: unknown): boolean {
  return error instanceof Error && OUT_OF_MEMORY.test(error.message);
}

async function readAll(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source) chunks.push(chunk);
  return Buffer.concat(chunks);
}
