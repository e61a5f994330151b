/** Which part of a picture is drawn anew, as the sampler and as the eye see it. */
import { cropToAspect, resizeBicubic, type Size } from "../image/resize.ts";
import type { RgbImage } from "../image/rgb-image.ts";
import type { Grid } from "../runtime/position-tables.ts";
import { InvalidRequestError } from "./invalid-request.ts";

/** From this level on, of 0..255, a pixel of a mask is to be drawn anew. */
const THRESHOLD = 128;
/** Width of the soft edge as a share of a patch, to either side. */
const EDGE_SHARE = 1 / 4;

export interface EditMask {
  /** 1 where a patch is drawn anew: [N] */
  readonly open: Uint8Array;
  /** Share of the new picture in each pixel, 0 to 1: [height, width] */
  readonly opacity: Float32Array;
}

/** @param mask white where the picture is to be drawn anew; as large as the source picture */
export function editMask(mask: RgbImage, { source, size, grid }: { source: Size; size: Size; grid: Grid }): EditMask {
  if (mask.width !== source.width || mask.height !== source.height) {
    throw new InvalidRequestError(
      `The mask has ${mask.width} x ${mask.height} pixels and the picture ${source.width} x ${source.height}. ` +
        "Make them the same size.",
    );
  }
  const { width, height, data } = resizeBicubic(cropToAspect(mask, size), size);
  const levels = Float32Array.from({ length: width * height }, (_, i) => {
    return ((data[3 * i] ?? 0) + (data[3 * i + 1] ?? 0) + (data[3 * i + 2] ?? 0)) / 3;
  });
  const stride = width / grid.columns;
  const patchOf = (pixel: number): number =>
    Math.floor(Math.floor(pixel / width) / stride) * grid.columns + Math.floor((pixel % width) / stride);
  const open = new Uint8Array(grid.rows * grid.columns);
  for (const [pixel, level] of levels.entries()) if (level >= THRESHOLD) open[patchOf(pixel)] = 1;
  if (!open.includes(1)) {
    throw new InvalidRequestError("The mask is empty. Paint white what is to be drawn anew, and the rest black.");
  }
  const soft = blur(levels, { width, height }, Math.round(stride * EDGE_SHARE));
  const opacity = soft.map((level, pixel) => (open[patchOf(pixel)] === 1 ? level / 255 : 0));
  return { open, opacity };
}

/** The new picture where the mask is, the source around it. */
export function blend(source: RgbImage, drawn: RgbImage, { opacity }: EditMask): RgbImage {
  const data = source.data.map((level, i) => {
    const share = opacity[Math.floor(i / 3)] ?? 0;
    return Math.round(level * (1 - share) + (drawn.data[i] ?? 0) * share);
  });
  return { ...source, data };
}

/** Mean over a square of 2 * radius + 1 pixels, cut off at the border. */
function blur(values: Float32Array, { width, height }: Size, radius: number): Float32Array {
  const along = (from: Float32Array, length: number, step: number, lines: number, lineStep: number): Float32Array => {
    const result = new Float32Array(from.length);
    for (let line = 0; line < lines; line++) {
      for (let i = 0; i < length; i++) {
        const first = Math.max(0, i - radius);
        const last = Math.min(length - 1, i + radius);
        let sum = 0;
        for (let j = first; j <= last; j++) sum += from[line * lineStep + j * step] ?? 0;
        result[line * lineStep + i * step] = sum / (last - first + 1);
      }
    }
    return result;
  };
  return along(along(values, width, 1, height, width), height, width, width, 1);
}
