/** Reads every picture through the API, and compares it with what the same recipe gave when nothing happened. */
import sharp from "sharp";
import { GraphqlClient } from "../../support/graphql-client.ts";
import { psnr } from "../../support/psnr.ts";
import { sha256Of } from "../../support/uploads.ts";

/** Company changes the order of sums, which nobody can see. Decibels. */
const MIN_PSNR = 40;

const IMAGES = "query($id: ID!) { generation(id: $id) { images { index sha256 url } } }";

export interface Expected {
  readonly id: string;
  readonly apiKey: string;
  /** SHA-256 of each picture; undefined where there is nothing to compare with. */
  readonly undisturbed: readonly string[];
  /** It may have been drawn together with others. */
  readonly mayHaveHadCompany: boolean;
}

export class PictureReader {
  private readonly bytes = new Map<string, Buffer>();
  read = 0;
  identical = 0;

  constructor(private readonly url: string) {}

  /** @returns what is wrong with the pictures of a generation */
  async complaints({ id, apiKey, undisturbed, mayHaveHadCompany }: Expected): Promise<readonly string[]> {
    const { generation } = await new GraphqlClient(this.url, apiKey).query(IMAGES, { id });
    const images = generation.images as { index: number; sha256: string; url: string }[];
    if (images.length !== undisturbed.length) return [`has ${images.length} pictures, not ${undisturbed.length}`];
    const found: string[] = [];
    for (const { index, sha256, url } of images) {
      const { pathname, search } = new URL(url);
      const response = await fetch(new URL(pathname + search, this.url));
      const bytes = Buffer.from(await response.arrayBuffer());
      this.read++;
      if (response.status !== 200 || sha256Of(bytes) !== sha256) found.push(`picture ${index} cannot be read`);
      else this.bytes.set(sha256, bytes);
      const expected = undisturbed[index] ?? "";
      if (sha256 === expected) this.identical++;
      else if (!mayHaveHadCompany || (await this.likeness(sha256, expected)) < MIN_PSNR)
        found.push(`picture ${index} is not that of an undisturbed run`);
    }
    return found;
  }

  private async likeness(one: string, other: string): Promise<number> {
    const [actual, expected] = await Promise.all([this.pixels(one), this.pixels(other)]);
    return actual === undefined || expected === undefined ? Number.NaN : psnr(actual, expected);
  }

  private async pixels(sha256: string): Promise<Float32Array | undefined> {
    const bytes = this.bytes.get(sha256);
    return bytes && Float32Array.from(await sharp(bytes).raw().toBuffer());
  }
}
