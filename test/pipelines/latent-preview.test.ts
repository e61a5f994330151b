import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { renderPreviews } from "../../inference/pipelines/latent-preview.ts";
import { seededRandomness } from "../../inference/sampling/randomness.ts";
import { type Drawing, draw, openTinyPipelines, REQUEST, type TinyPipelines } from "./drawing.ts";

const MAX_BYTES = 24 * 1024;
const GRID = { rows: 6, columns: 6 };

let tiny: TinyPipelines;
/** Two pictures as well as the preset draws them. */
let drawing: Drawing;
beforeAll(async () => {
  tiny = await openTinyPipelines();
  const { steps, diffusionSteps } = tiny.pipelines.model.manifest.defaults;
  drawing = await draw(tiny.pipelines, { ...REQUEST, count: 2, steps, diffusionSteps });
});
afterAll(() => tiny.dispose());

function setup() {
  const { latentPreview } = tiny.pipelines.model.manifest;
  const previewsAfter = (stepsDone: number) => renderPreviews(drawing.states[stepsDone - 1]!, GRID, latentPreview);
  return { ...drawing, previewsAfter };
}

/** One pixel from the middle of each patch: [N, 4] */
async function patchesOf({ webp, width }: { webp: Uint8Array; width: number }): Promise<number[][]> {
  const pixels = await sharp(webp).ensureAlpha().raw().toBuffer();
  const side = width / GRID.columns;
  return Array.from({ length: GRID.rows * GRID.columns }, (_, place) => {
    const x = (place % GRID.columns) * side + Math.floor(side / 2);
    const y = Math.floor(place / GRID.columns) * side + Math.floor(side / 2);
    return [...pixels.subarray(4 * (y * width + x), 4 * (y * width + x) + 4)];
  });
}

describe("a preview", () => {
  test("is a WebP of at most 256 pixels a side, in the shape of the grid", async () => {
    const { previewsAfter } = setup();
    const previews = await previewsAfter(5);
    expect(previews).toHaveLength(2);
    for (const { width, height, webp } of previews) {
      expect([width, height]).toEqual([252, 252]);
      expect(await sharp(webp).metadata()).toMatchObject({ format: "webp", width, height });
    }
  });

  test("is transparent exactly where nothing is known", async () => {
    const { states, previewsAfter } = setup();
    for (const stepsDone of [1, 9, 18]) {
      for (const [image, preview] of (await previewsAfter(stepsDone)).entries()) {
        const alpha = (await patchesOf(preview)).map(([, , , value]) => value);
        const isKnown = states[stepsDone - 1]!.known[image]!;
        expect(alpha).toEqual(Array.from(isKnown, (known) => 255 * known));
      }
    }
  });

  test("has about the colours of the finished picture", async () => {
    const { images, previewsAfter } = setup();
    for (const [image, preview] of (await previewsAfter(18)).entries()) {
      const shown = (await patchesOf(preview)).flatMap((patch) => patch.slice(0, 3));
      const drawn = meanColours(images[image]!.data);
      expect(correlation(shown, drawn)).toBeGreaterThan(0.8);
      expect(mean(shown.map((value, i) => Math.abs(value - drawn[i]!)))).toBeLessThan(20);
    }
  });

  test("of the largest picture has at most 256 pixels a side and 24 KiB, whatever it shows", async () => {
    const places = Uint32Array.from({ length: 64 * 64 }, (_, place) => place);
    const latents = new Float32Array(places.length * 16);
    seededRandomness(1n).fillNoise(latents, { image: 0, step: 0, draw: 0, places });
    // Every patch of a colour of its own: the worst case of a lossless format.
    const map = [0, 1, 2].map((channel) =>
      Array.from({ length: 17 }, (_, c) => (c === channel ? 0.3 : c === 16 ? 0.5 : 0)),
    );
    const state = { stepsDone: 1, totalSteps: 1, tokens: [latents], known: [new Uint8Array(places.length).fill(1)] };
    const [preview] = await renderPreviews(state, { rows: 64, columns: 64 }, map);
    expect([preview!.width, preview!.height]).toEqual([256, 256]);
    expect(preview!.webp.length).toBeLessThanOrEqual(MAX_BYTES);
  });

  test("of a wide picture is wide", async () => {
    const state = { stepsDone: 0, totalSteps: 1, tokens: [new Float32Array(8 * 16)], known: [new Uint8Array(8)] };
    const [preview] = await renderPreviews(state, { rows: 2, columns: 4 }, tiny.pipelines.model.manifest.latentPreview);
    expect([preview!.width, preview!.height]).toEqual([256, 128]);
  });
});

/** Mean colour of every patch of 16 x 16 pixels: [N * 3] */
function meanColours(data: Uint8Array): number[] {
  const sums = new Array<number>(3 * 36).fill(0);
  for (const [i, value] of data.entries()) {
    const pixel = Math.floor(i / 3);
    const place = Math.floor(Math.floor(pixel / 96) / 16) * 6 + Math.floor((pixel % 96) / 16);
    sums[3 * place + (i % 3)]! += value / 256;
  }
  return sums;
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

function correlation(a: readonly number[], b: readonly number[]): number {
  const [meanA, meanB] = [mean(a), mean(b)];
  const covariance = mean(a.map((value, i) => (value - meanA) * (b[i]! - meanB)));
  const variance = (values: readonly number[], centre: number): number =>
    mean(values.map((value) => (value - centre) ** 2));
  return covariance / Math.sqrt(variance(a, meanA) * variance(b, meanB));
}
