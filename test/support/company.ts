/** Whether pictures that were drawn in company are those that are drawn alone. */
import sharp from "sharp";
import { expect } from "vitest";

/** Other company changes the order of fp32 sums; a pixel near the border of two levels may go either way. */
const COMPANY_LEVELS = 1;

/** Encoded pictures. */
export async function expectSamePicture(actual: Uint8Array, expected: Uint8Array): Promise<void> {
  const [levels, others] = await Promise.all([actual, expected].map((each) => sharp(each).raw().toBuffer()));
  const worst = levels!.reduce((max, level, i) => Math.max(max, Math.abs(level - others![i]!)), 0);
  expect(worst).toBeLessThanOrEqual(COMPANY_LEVELS);
}

/** The first picture of a generation. */
export async function pictureOf({ images }: { images: readonly { url: string }[] }): Promise<Uint8Array> {
  return new Uint8Array(await (await fetch(images[0]!.url)).arrayBuffer());
}
