/**
 * A thumbnail of unfinished pictures for nothing: one linear map from a latent to the mean colour of its patch, fitted
 * when the model is built.
 */
import { encodeWebp } from "../image/rgb-image.ts";
import type { LoadedModel } from "../runtime/loaded-model.ts";
import type { Grid } from "../runtime/position-tables.ts";
import { seededRandomness } from "../sampling/randomness.ts";
import type { MarProgress } from "./mar-sampler.ts";
import { decodePixels } from "./vae-decode.ts";

/** Random grids that the fit decodes: 24 * 36 patches for 3 * (C + 1) numbers. */
const FIT_GRIDS = 24;
const FIT_GRID = { rows: 6, columns: 6 };
const RIDGE = 1e-3;
/**
 * Share of a latent's variance that all patches of a grid have in common: the decoder sees far around a patch, and real
 * neighbours are alike. On pictures of the tiny preset the map is off by 11 of 255 levels with 0.8, by 28 with 0.5.
 */
const COMMON_SHARE = 0.8;

/** Rows are red, green, blue; columns the latent's channels and the offset: [3][C + 1] */
export type LatentPreviewMap = readonly (readonly number[])[];

/** Fits the map on decoded random latents: a colour common to the grid, and a little of each patch's own. */
export async function fitLatentPreview(model: LoadedModel): Promise<LatentPreviewMap> {
  const { latentChannels: channels, vaeStride } = model.manifest.dimensions;
  const patches = FIT_GRID.rows * FIT_GRID.columns;
  const places = Uint32Array.from({ length: patches }, (_, place) => place);
  const randomness = seededRandomness(0n);
  const equations = new NormalEquations(channels + 1, RIDGE);
  for (let image = 0; image < FIT_GRIDS; image++) {
    const own = new Float32Array(patches * channels);
    const common = new Float32Array(channels);
    randomness.fillNoise(own, { image, step: 0, draw: 0, places });
    randomness.fillNoise(common, { image, step: 1, draw: 0, places: places.subarray(0, 1) });
    const tokens = own.map(
      (value, i) => Math.sqrt(1 - COMMON_SHARE) * value + Math.sqrt(COMMON_SHARE) * (common[i % channels] ?? 0),
    );
    const pixels = await decodePixels(model, tokens, FIT_GRID);
    for (const place of places) {
      const latent = [...tokens.subarray(place * channels, (place + 1) * channels), 1];
      equations.add(latent, patchColour(pixels, place, vaeStride));
    }
  }
  return equations.solve();
}

export interface Preview {
  readonly width: number;
  readonly height: number;
  readonly webp: Uint8Array;
}

/** Longest side of a preview, in pixels. */
const PREVIEW_SIDE = 256;

/** Every picture as far as it is known: patches of one colour, unknown ones transparent. */
export async function renderPreviews(
  { tokens, known }: MarProgress,
  grid: Grid,
  map: LatentPreviewMap,
): Promise<readonly Preview[]> {
  const scale = Math.max(1, Math.floor(PREVIEW_SIDE / Math.max(grid.rows, grid.columns)));
  const size = { width: grid.columns * scale, height: grid.rows * scale };
  return Promise.all(
    tokens.map(async (latents, image) => {
      const patches = colourPatches(latents, known[image] ?? new Uint8Array(0), map);
      const webp = await encodeWebp(patches, { width: grid.columns, height: grid.rows }, scale);
      return { ...size, webp };
    }),
  );
}

/** -> [N, 4] */
function colourPatches(latents: Float32Array, known: Uint8Array, map: LatentPreviewMap): Uint8Array {
  const channels = latents.length / known.length;
  const rgba = new Uint8Array(4 * known.length);
  for (const [place, isKnown] of known.entries()) {
    if (isKnown === 0) continue;
    for (const [channel, weights] of map.entries()) {
      let value = weights[channels] ?? 0;
      for (let c = 0; c < channels; c++) value += (weights[c] ?? 0) * (latents[place * channels + c] ?? 0);
      rgba[4 * place + channel] = Math.max(0, Math.min(255, Math.round(255 * value)));
    }
    rgba[4 * place + 3] = 255;
  }
  return rgba;
}

/** Mean colour of one patch, 0..1. pixels: [3, rows * stride, columns * stride] */
function patchColour(pixels: Float32Array, place: number, stride: number): readonly number[] {
  const width = FIT_GRID.columns * stride;
  const plane = width * FIT_GRID.rows * stride;
  const left = (place % FIT_GRID.columns) * stride;
  const top = Math.floor(place / FIT_GRID.columns) * stride;
  return [0, 1, 2].map((channel) => {
    let sum = 0;
    for (let y = top; y < top + stride; y++) {
      for (let x = left; x < left + stride; x++) {
        sum += Math.max(-1, Math.min(1, pixels[channel * plane + y * width + x] ?? 0));
      }
    }
    return (sum / (stride * stride) + 1) / 2;
  });
}

/** Least squares of three targets with a ridge: (X^T X + ridge) w = X^T y. */
class NormalEquations {
  private readonly matrix: number[][];
  private readonly targets: number[][];

  constructor(size: number, ridge: number) {
    this.matrix = Array.from({ length: size }, (_, i) => Array.from({ length: size }, (_, j) => (i === j ? ridge : 0)));
    this.targets = Array.from({ length: size }, () => [0, 0, 0]);
  }

  add(inputs: readonly number[], outputs: readonly number[]): void {
    for (const [i, a] of inputs.entries()) {
      for (const [j, b] of inputs.entries()) addTo(this.matrix, [i, j], a * b);
      for (const [k, y] of outputs.entries()) addTo(this.targets, [i, k], a * y);
    }
  }

  /** Gauss-Jordan; the matrix is positive definite, so no pivoting is needed. -> [3][size] */
  solve(): number[][] {
    const rows = this.matrix.map((row, i) => [...row, ...(this.targets[i] ?? [])]);
    for (const [i, pivotRow] of rows.entries()) {
      const pivot = pivotRow[i] ?? 1;
      for (let c = 0; c < pivotRow.length; c++) pivotRow[c] = (pivotRow[c] ?? 0) / pivot;
      for (const [j, row] of rows.entries()) {
        const factor = row[i] ?? 0;
        if (j !== i) for (let c = 0; c < row.length; c++) row[c] = (row[c] ?? 0) - factor * (pivotRow[c] ?? 0);
      }
    }
    return [0, 1, 2].map((k) => rows.map((row) => row[rows.length + k] ?? 0));
  }
}

function addTo(matrix: number[][], [i, j]: readonly [number, number], value: number): void {
  const row = matrix[i];
  if (row !== undefined) row[j] = (row[j] ?? 0) + value;
}
