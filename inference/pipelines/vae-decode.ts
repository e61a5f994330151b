/** Image tokens to pixels. */
import type { LoadedModel } from "../runtime/loaded-model.ts";
import type { Grid } from "../runtime/position-tables.ts";
import { float32, valuesOf } from "../runtime/tensor.ts";
import { requireFinite } from "./finite.ts";

/** tokens: [N, C] scaled latents of one picture -> [3, rows * stride, columns * stride] in about [-1, 1]; throws if they are not finite */
export async function decodePixels(model: LoadedModel, tokens: Float32Array, grid: Grid): Promise<Float32Array> {
  const { latentChannels } = model.manifest.dimensions;
  const feeds = { tokens: float32(tokens, [1, grid.rows, grid.columns, latentChannels]) };
  const { pixels } = await model.run("vae-decoder", feeds, ["pixels"]);
  return requireFinite(valuesOf(pixels), "pixels");
}
