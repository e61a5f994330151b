/** A given picture as the model sees it. */
import type { RgbImage } from "../image/rgb-image.ts";
import type { LoadedModel } from "../runtime/loaded-model.ts";
import type { Grid } from "../runtime/position-tables.ts";
import { float32, int64, type Tensor, valuesOf } from "../runtime/tensor.ts";

export interface SourceFeatures {
  /** For the decoder: [1, K + N, E], buffers first */
  readonly encoded: Tensor;
  /** For the language model, in the order of the image tokens of a prompt: [N + K, llmWidth], buffers last */
  readonly embeddings: Float32Array;
}

/** -> [N, C] scaled latents */
export function encodePixels(model: LoadedModel, image: RgbImage): Promise<Float32Array> {
  const { width, height } = image;
  return encodePlanes(model, float32(planesOf(image), [1, 3, height, width]));
}

/** pixels: [1, 3, height, width] in [-1, 1] -> [N, C] scaled latents */
export async function encodePlanes(model: LoadedModel, pixels: Tensor): Promise<Float32Array> {
  const { tokens } = await model.run("vae-encoder", { pixels }, ["tokens"]);
  return valuesOf(tokens);
}

/** The MAR encoder's features of a whole picture, without any prompt. tokens: [N, C] scaled latents */
export async function encodeTokens(model: LoadedModel, tokens: Float32Array, grid: Grid): Promise<SourceFeatures> {
  const { latentChannels, encoderWidth } = model.manifest.dimensions;
  const count = grid.rows * grid.columns;
  const table = model.positionTable("encoder", grid);
  const { x_enc, z_enc } = await model.run(
    "mar-encoder",
    {
      tokens: float32(tokens, [1, count, latentChannels]),
      visible: int64(
        Array.from({ length: count }, (_, place) => place),
        [1, count],
      ),
      position_table: float32(table, [table.length / encoderWidth, encoderWidth]),
    },
    ["x_enc", "z_enc"],
  );
  return { encoded: x_enc, embeddings: valuesOf(z_enc) };
}

/** What stands at the unknown places of a picture that is made from this one: [1, K + N, D] */
export async function canvasOf(model: LoadedModel, { encoded }: SourceFeatures): Promise<Tensor> {
  const { canvas } = await model.run("mar-canvas", { x_enc: encoded }, ["canvas"]);
  return canvas;
}

/** v / 255 * 2 - 1 in fp32: [3, height, width] */
function planesOf({ width, height, data }: RgbImage): Float32Array {
  const plane = width * height;
  const planes = new Float32Array(3 * plane);
  for (let i = 0; i < plane; i++) {
    for (let channel = 0; channel < 3; channel++) {
      planes[channel * plane + i] = 2 * Math.fround((data[3 * i + channel] ?? 0) / 255) - 1;
    }
  }
  return planes;
}
