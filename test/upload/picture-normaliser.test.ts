import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import sharp, { type Sharp } from "sharp";
import { describe, expect, test } from "vitest";
import { readImage } from "../../inference/image/read-image.ts";
import { DomainError } from "../../src/platform/errors.ts";
import {
  type NormalisedPicture,
  PictureNormaliser,
  type PictureNormaliserOptions,
} from "../../src/upload/picture-normaliser.ts";
import { createFolder } from "../checkpoint/temporary-folder.ts";

const PROGRAM = "dist/src/upload/normalise-picture.js";
const TAKEN = "This is no picture that is taken. Send a JPEG, PNG, WebP, GIF, TIFF or AVIF file.";

const normaliser = (options: Partial<PictureNormaliserOptions> = {}) =>
  new PictureNormaliser({ program: PROGRAM, ...options });
const normalise = async (bytes: Buffer, by = normaliser()): Promise<NormalisedPicture> =>
  (await by.normalise(async () => bytes))!;
async function refusalOf(bytes: Buffer, by = normaliser()): Promise<string> {
  const error: unknown = await normalise(bytes, by).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(DomainError);
  expect(error).toMatchObject({ code: "INVALID_INPUT", details: { path: ["id"] } });
  return (error as Error).message;
}

/** 48 x 32 pixels without two alike in a row, so that turning and cutting show. */
const gradient = Buffer.from(Array.from({ length: 48 * 32 * 3 }, (_, i) => (i * 37 + (i >> 4)) % 256));
const picture = (): Sharp => sharp(gradient, { raw: { width: 48, height: 32, channels: 3 } });
const seeThrough = (): Sharp =>
  sharp(Buffer.concat([gradient, gradient]).subarray(0, 48 * 32 * 4), { raw: { width: 48, height: 32, channels: 4 } });
const flat = (width: number, height: number, background: string): Sharp =>
  sharp({ create: { width, height, channels: 3, background } });

describe("a picture is kept as workers would read it:", () => {
  test.each<[string, () => Promise<Buffer>]>([
    ["JPEG", () => picture().jpeg().toBuffer()],
    ["PNG", () => picture().png().toBuffer()],
    ["WebP", () => picture().webp().toBuffer()],
    ["GIF", () => picture().gif().toBuffer()],
    ["TIFF", () => picture().tiff({ compression: "lzw" }).toBuffer()],
    ["AVIF", () => picture().avif({ effort: 0 }).toBuffer()],
    ["16 bits a channel", () => picture().toColourspace("rgb16").png().toBuffer()],
    ["CMYK", () => picture().toColourspace("cmyk").jpeg().toBuffer()],
    ["grey", () => picture().greyscale().png().toBuffer()],
    ["transparency", () => seeThrough().png().toBuffer()],
    ["a palette", () => picture().png({ palette: true, colours: 16 }).toBuffer()],
    ["turned by its EXIF", () => picture().withMetadata({ orientation: 8 }).jpeg().toBuffer()],
    ["a colour profile of its own", () => picture().withIccProfile("p3").png().toBuffer()],
    [
      "an animation",
      async () =>
        sharp([await picture().png().toBuffer(), await flat(48, 32, "red").png().toBuffer()], {
          join: { animated: true },
        })
          .gif()
          .toBuffer(),
    ],
  ])("%s", async (_, make) => {
    const bytes = await make();
    const [expected, { png, width, height, brightest }] = [await readImage(bytes), await normalise(bytes)];
    expect({ width, height }).toEqual({ width: expected.width, height: expected.height });
    const kept = await readImage(png);
    expect(Buffer.from(kept.data).equals(Buffer.from(expected.data))).toBe(true);
    const means = Array.from({ length: width * height }, (_, i) =>
      Math.floor((kept.data[3 * i]! + kept.data[3 * i + 1]! + kept.data[3 * i + 2]!) / 3),
    );
    expect(brightest).toBe(Math.max(...means));
    const { format, exif, icc, xmp, orientation, hasAlpha, depth } = await sharp(png).metadata();
    expect({ format, exif, icc, xmp, orientation, hasAlpha, depth }).toEqual({
      format: "png",
      hasAlpha: false,
      depth: "uchar",
    });
  });

  test("large ones are scaled down by their size alone, so that a mask still fits", async () => {
    const [photo, mask] = await Promise.all([
      normalise(await flat(3001, 2503, "red").jpeg().toBuffer()),
      normalise(await flat(3001, 2503, "white").png().toBuffer()),
    ]);
    expect([photo.width, photo.height]).toEqual([2682, 2237]);
    expect([mask.width, mask.height]).toEqual([photo.width, photo.height]);
    expect([photo.brightest, mask.brightest]).toEqual([84, 255]);
    expect(photo.width * photo.height).toBeLessThanOrEqual(6e6);
  });

  test.each([
    [20_000, 12, [4096, 2]],
    [1, 100_000, [1, 4096]],
  ])("so are long ones: %i x %i", async (width, height, kept) => {
    const thin = await normalise(await flat(width, height, "red").png().toBuffer());
    expect([thin.width, thin.height]).toEqual(kept);
  });
});

describe("refused with what to do:", () => {
  test.each([
    ["nothing", ""],
    ["text", "a picture, honestly"],
    ["HTML", "<!doctype html><html></html>"],
    ["SVG", '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'],
    ["SVG that says it is XML", '<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'],
    ["PDF", "%PDF-1.7\n1 0 obj"],
    ["Radiance HDR", "#?RADIANCE\n"],
    ["PPM", "P6 1 1 255 abc"],
  ])("%s", async (_, text) => {
    expect(await refusalOf(Buffer.from(text))).toBe(TAKEN);
  });

  test.each([
    ["a PNG's first eight bytes", "\x89PNG\r\n\x1a\n"],
    ["SVG behind the mark of a JPEG", "\xff\xd8\xff<svg xmlns='http://www.w3.org/2000/svg'/>"],
    ["a movie with the mark of an AVIF", "\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf moov"],
  ])("%s", async (_, text) => {
    expect(await refusalOf(Buffer.from(text, "latin1"))).toMatch(/no picture that can be read|damaged or cut off/);
  });

  test.each(["png", "jpeg", "webp", "tiff", "gif"] as const)("a %s file that is cut off", async (format) => {
    const noise = Buffer.from(Array.from({ length: 3 * 64 * 64 }, (_, i) => (i * 7919) % 251));
    const whole = await sharp(noise, { raw: { width: 64, height: 64, channels: 3 } })
      .toFormat(format)
      .toBuffer();
    expect(await refusalOf(whole.subarray(0, whole.length / 2))).toMatch(
      /no picture that can be read|damaged or cut off/,
    );
  });

  test("a file of 100 bytes that claims more pixels than are taken", async () => {
    const bomb = await flat(1, 1, "white").png().toBuffer();
    bomb.writeUInt32BE(60_000, 16);
    bomb.writeUInt32BE(50_000, 20);
    bomb.writeUInt32BE(crc32(bomb.subarray(12, 29)), 29);
    expect(await refusalOf(bomb)).toBe(
      "The picture has 60000 x 50000 pixels; up to 25 million are taken. Make it smaller.",
    );
  });

  test("one that takes more memory than there is for it", async () => {
    const large = await flat(4900, 4900, "white").webp({ lossless: true, effort: 0 }).toBuffer();
    expect(await refusalOf(large, normaliser({ memoryKib: 250 * 1024 }))).toBe(
      "The picture takes too much memory to be read. Make it smaller, or save it as JPEG.",
    );
  });

  test("one whose decoder ends in the middle", async () => {
    const program = join(createFolder(), "killed.mjs");
    writeFileSync(program, 'process.kill(process.pid, "SIGKILL")');
    expect(await refusalOf(await picture().png().toBuffer(), normaliser({ program }))).toBe(
      "The picture takes too much memory or time to be read. Make it smaller, or save it as JPEG.",
    );
  });

  test("one that takes too long, and the next one has its turn", async () => {
    const hurried = normaliser({ timeoutMs: 1 });
    const bytes = await picture().png().toBuffer();
    const refusals = await Promise.all([1, 2, 3, 4].map(() => refusalOf(bytes, hurried)));
    expect(new Set(refusals)).toEqual(
      new Set(["The picture takes too long to be read. Make it smaller, or save it as JPEG."]),
    );
  });
});

test("two at a time: the others wait, and hold nothing meanwhile", async () => {
  const bytes = await picture().png().toBuffer();
  const both = normaliser();
  let reading = 0;
  const first = [1, 2].map(() =>
    both.normalise(async () => {
      reading += 1;
      return bytes;
    }),
  );
  const third = both.normalise(async () => {
    reading += 1;
    return bytes;
  });
  await Promise.resolve();
  expect(reading).toBe(2);
  await Promise.race(first);
  await third;
  expect(reading).toBe(3);
  await Promise.all(first);
});

test("the child itself reads no format that may draw text or fetch files", async () => {
  const svg = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>';
  expect((await sharp(Buffer.from(svg)).metadata()).format).toBe("svg");
  const { status, stderr, stdout } = spawnSync(process.execPath, [PROGRAM], { input: svg });
  expect([status, stdout.length]).toEqual([2, 0]);
  expect(stderr.toString("utf8")).toMatch(/^This is no picture that can be read\./);
});

test("a program that cannot run is a fault of ours, not of the picture", async () => {
  const bytes = await picture().png().toBuffer();
  await expect(normalise(bytes, normaliser({ program: "/nowhere.js" }))).rejects.toThrow(
    "normalise-picture ended with 1",
  );
});
