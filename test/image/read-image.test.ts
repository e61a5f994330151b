import { writeFileSync } from "node:fs";
import { join } from "node:path";
import sharp, { type Sharp } from "sharp";
import { describe, expect, test } from "vitest";
import { InvalidImageError, readImage } from "../../inference/image/read-image.ts";
import { createFolder } from "../checkpoint/temporary-folder.ts";

const RED = { r: 200, g: 30, b: 40 };

/** 30 x 20 pixels of one colour. */
const plain = (channels: 3 | 4 = 3, background: object = RED): Sharp =>
  sharp({ create: { width: 30, height: 20, channels, background } });

async function pixelOf(bytes: Buffer, x = 0, y = 0): Promise<readonly number[]> {
  const { width, data } = await readImage(bytes);
  return [...data.subarray(3 * (y * width + x), 3 * (y * width + x) + 3)];
}

describe("a picture becomes 8-bit RGB:", () => {
  test("from a file and from its bytes alike", async () => {
    const file = join(createFolder(), "red.png");
    await plain().png().toFile(file);
    const { width, height, data } = await readImage(file);
    expect([width, height, ...data.subarray(0, 3)]).toEqual([30, 20, 200, 30, 40]);
  });

  test("16 bits a channel are scaled down", async () => {
    expect(await pixelOf(await plain().toColourspace("rgb16").png().toBuffer())).toEqual([200, 30, 40]);
  });

  test("a palette is resolved", async () => {
    expect(await pixelOf(await plain().png({ palette: true }).toBuffer())).toEqual([200, 30, 40]);
  });

  test("grey gets three channels", async () => {
    expect(await pixelOf(await plain(3, { r: 90, g: 90, b: 90 }).greyscale().png().toBuffer())).toEqual([90, 90, 90]);
  });

  test("CMYK is converted", async () => {
    const [r = 0, g = 0, b = 0] = await pixelOf(await plain().toColourspace("cmyk").jpeg().toBuffer());
    expect(r).toBeGreaterThan(150);
    expect(Math.max(g, b)).toBeLessThan(90);
  });

  test("transparency lies on white", async () => {
    expect(
      await pixelOf(
        await plain(4, { ...RED, alpha: 0 })
          .png()
          .toBuffer(),
      ),
    ).toEqual([255, 255, 255]);
    const [r = 0] = await pixelOf(
      await plain(4, { ...RED, alpha: 0.5 })
        .png()
        .toBuffer(),
    );
    expect(Math.abs(r - 228)).toBeLessThanOrEqual(1);
  });

  test("a camera's orientation is applied", async () => {
    const left = await sharp({ create: { width: 10, height: 20, channels: 3, background: "blue" } })
      .png()
      .toBuffer();
    const picture = plain().composite([{ input: left, left: 0, top: 0 }]);
    const bytes = await sharp(await picture.png().toBuffer())
      .withMetadata({ orientation: 6 })
      .jpeg({ quality: 100 })
      .toBuffer();
    const { width, height } = await readImage(bytes); // 6: to be turned clockwise
    expect([width, height]).toEqual([20, 30]);
    const [, , blue = 0] = await pixelOf(bytes, 10, 2);
    expect(blue).toBeGreaterThan(200);
  });

  test("of an animation the first frame", async () => {
    const frames = await Promise.all(
      ["red", "blue"].map((background) =>
        plain(3, background as never)
          .png()
          .toBuffer(),
      ),
    );
    const bytes = await sharp(frames, { join: { animated: true } })
      .gif()
      .toBuffer();
    const { width, height } = await readImage(bytes);
    expect([width, height]).toEqual([30, 20]);
    expect(await pixelOf(bytes)).toEqual([255, 0, 0]);
  });
});

describe("refused with what to do:", () => {
  const refusalOf = async (source: string | Uint8Array): Promise<string> => {
    const error: unknown = await readImage(source).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(InvalidImageError);
    return (error as Error).message;
  };

  test.each([
    ["text", Buffer.from("a picture, honestly")],
    ["nothing", Buffer.alloc(0)],
    ["a PNG's first eight bytes", Buffer.from("\x89PNG\r\n\x1a\n", "latin1")],
  ])("%s", async (_, bytes) => {
    expect(await refusalOf(bytes)).toBe(
      "This is no picture that can be read. Give a JPEG, PNG, WebP, GIF, TIFF or AVIF file.",
    );
  });

  test.each(["png", "jpeg", "webp"] as const)("a %s file that is cut off", async (format) => {
    const noise = Buffer.from(Array.from({ length: 3 * 64 * 64 }, (_, i) => (i * 7919) % 251));
    const whole = await sharp(noise, { raw: { width: 64, height: 64, channels: 3 } })
      .toFormat(format)
      .toBuffer();
    expect(await refusalOf(whole.subarray(0, whole.length / 2))).toMatch(
      /damaged or cut off|no picture that can be read/,
    );
  });

  test("a drawing that may fetch files", async () => {
    const svg = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>';
    expect(await refusalOf(Buffer.from(svg))).toMatch(/^Pictures of the format svg are not taken\. /);
  });

  test("a line as long as a square of it would be large", async () => {
    const line = await sharp({ create: { width: 1, height: 20_000, channels: 3, background: "white" } })
      .png()
      .toBuffer();
    expect(await refusalOf(line)).toBe(
      "The picture has 1 x 20000 pixels; sides of up to 16384 are taken. Make it smaller.",
    );
  });

  test("a small file with very many pixels", async () => {
    const bomb = await sharp({ create: { width: 6000, height: 5000, channels: 3, background: "white" } })
      .png()
      .toBuffer();
    expect(bomb.length).toBeLessThan(1e6);
    expect(await refusalOf(bomb)).toBe(
      "The picture has 6000 x 5000 pixels; up to 25 million are taken. Make it smaller.",
    );
  });

  test("a large file, without reading it", async () => {
    const file = join(createFolder(), "large.png");
    writeFileSync(file, Buffer.alloc(20_000_001));
    expect(await refusalOf(file)).toBe("The picture has 20 MB; up to 20 MB are taken. Make it smaller.");
  });
});
