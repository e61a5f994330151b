/** The forms in which a picture is kept. */
import sharp from "sharp";

export const IMAGE_VARIANTS = { ORIGINAL: "original.png", W256: "w256.webp", W512: "w512.webp" } as const;
export type ImageVariant = keyof typeof IMAGE_VARIANTS;

/** Files of one picture, to be stored in its folder. Smaller pictures are not enlarged. */
export async function variantsOf(png: Uint8Array): Promise<Record<ImageVariant, Uint8Array>> {
  const scaled = (width: number): Promise<Buffer> =>
    sharp(png).resize({ width, withoutEnlargement: true }).webp({ quality: 85, effort: 2 }).toBuffer();
  return { ORIGINAL: png, W256: await scaled(256), W512: await scaled(512) };
}
