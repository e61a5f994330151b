import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { openPipelines } from "../../inference/pipelines/pipelines.ts";
import { changeTensors, copyPreset } from "../model/own-checkpoint.ts";
import { draw, REQUEST } from "./drawing.ts";

/** The tiny preset with one weight that is finite, but too large to compute with. */
function setup(file: string, tensor: string, root?: string) {
  const copy = copyPreset();
  changeTensors(join(copy.checkpoint, file), (tensors) => tensors.get(tensor)!.values.fill(3e38), root);
  return copy;
}

test("a drawing whose latents overflow fails instead of giving a black picture", async () => {
  const { build, out } = setup("pytorch_model.bin", "mar.diffloss.net.final_layer.linear.weight");
  await build();
  const pipelines = openPipelines(out, { provider: "cpu", threads: 1 });
  onTestFinished(() => pipelines.close());
  await expect(draw(pipelines, REQUEST)).rejects.toThrow(
    "The model produced numbers that are not finite, in the latents of a picture. " +
      "Its checkpoint may be damaged: download it again and build the model anew.",
  );
});

test("a model whose pixels overflow is not built", async () => {
  const { build, results } = setup("kl16.ckpt", "decoder.conv_out.weight", "model");
  await expect(build()).rejects.toThrow(
    "The model produced numbers that are not finite, in the pixels of a picture. " +
      "Its checkpoint may be damaged: download it again and build the model anew.",
  );
  expect(results()).toEqual([]);
});
