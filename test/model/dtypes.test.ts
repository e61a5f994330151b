import { statSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { buildModel } from "../../inference/build-model.ts";
import { GraphBuilder } from "../../inference/graph/graph-builder.ts";
import { roundToBfloat16 } from "../../inference/graph/number-formats.ts";
import { DTYPES, type Dtype, loadManifest } from "../../inference/manifest.ts";
import { findCheckpointFolder } from "../../inference/model/checkpoint-folder.ts";
import { Parameters } from "../../inference/model/parameters.ts";
import { formatIn } from "../../inference/model/precision.ts";
import { GRAPH_BUILDERS } from "../../inference/model/unipic.ts";
import { openPipelines } from "../../inference/pipelines/pipelines.ts";
import type { TextToImageRequest } from "../../inference/pipelines/text-to-image.ts";
import { int64 } from "../../inference/runtime/tensor.ts";
import { createGraphFixture, spread, type TensorValues, tensorOf } from "../graph/graph-fixture.ts";
import { draw, REQUEST } from "../pipelines/drawing.ts";
import { inHalfPrecision } from "../support/half-precision.ts";
import { psnr } from "../support/psnr.ts";
import { changeTensors, copyPreset, createCheckpoint, type OwnCheckpoint } from "./own-checkpoint.ts";

const DOWN_PROJECTION = "llm.model.layers.1.mlp.down_proj.weight";

/**
 * The tiny preset with a residual stream far beyond fp16, as that of Qwen2 is for some tokens. All weights are bf16
 * numbers, as those of the published checkpoint.
 */
function createLoudCheckpoint() {
  const copy = copyPreset();
  changeTensors(join(copy.checkpoint, "pytorch_model.bin"), (tensors) => {
    for (const [name, { values }] of tensors) {
      const scale = name === DOWN_PROJECTION ? 2 ** 20 : 1;
      values.set(roundToBfloat16(values).map((value) => value * scale));
    }
  });
  return copy;
}

/** As many diffusion steps as the model was made for: with fewer, any rounding leads elsewhere. */
const SOUND_REQUEST = { ...REQUEST, diffusionSteps: "25" };

/** Latents of a short drawing of a checkpoint in a dtype. */
async function latentsOf(
  { checkpoint, parent }: OwnCheckpoint,
  dtype: Dtype,
  request: TextToImageRequest,
): Promise<Float32Array> {
  const out = join(parent, dtype);
  await buildModel({ checkpointFolder: checkpoint, out, dtype });
  const pipelines = openPipelines(out, { provider: "cpu", threads: 1 });
  onTestFinished(() => pipelines.close());
  return (await draw(pipelines, request)).states.at(-1)!.tokens[0]!;
}

test("a build is in one dtype, says which, and has a digest of its own", async () => {
  const { checkpoint, parent } = createCheckpoint();
  const manifests = [];
  for (const dtype of DTYPES) {
    const out = join(parent, dtype);
    await buildModel({ checkpointFolder: checkpoint, out, dtype });
    manifests.push(loadManifest(out));
  }
  expect(manifests.map(({ dtype }) => dtype)).toEqual(["float32", "int8", "float16", "bfloat16"]);
  expect(new Set(manifests.map(({ digest }) => digest)).size).toBe(DTYPES.length);
});

test("a model is built again in another dtype, and not in the same one", async () => {
  const { checkpoint, out } = createCheckpoint();
  const build = async (dtype: Dtype) => (await buildModel({ checkpointFolder: checkpoint, out, dtype })).isNew;
  expect([await build("int8"), await build("int8"), await build("float32")]).toEqual([true, false, true]);
  expect(loadManifest(out).dtype).toBe("float32");
});

test("tiny draws nearly the same in every dtype, from smaller files", async () => {
  const copy = copyPreset();
  const expected = await latentsOf(copy, "float32", SOUND_REQUEST);
  const size = (dtype: Dtype): number => statSync(join(copy.parent, dtype, "weights.bin")).size;
  // The autoencoder and the embeddings, a third of tiny, stay in fp32.
  for (const [dtype, decibels, part] of [
    ["int8", 35, 0.55],
    ["float16", 80, 0.7],
    ["bfloat16", 60, 0.7],
  ] as const) {
    expect(psnr(await latentsOf(copy, dtype, SOUND_REQUEST), expected), dtype).toBeGreaterThan(decibels);
    expect(size(dtype), dtype).toBeLessThan(part * size("float32"));
  }
});

test.each(["float16", "bfloat16"] as const)(
  "a residual stream beyond fp16 changes nothing in a model in %s",
  async (dtype) => {
    const copy = createLoudCheckpoint();
    const expected = await latentsOf(copy, "float32", REQUEST);
    expect(psnr(await latentsOf(copy, dtype, REQUEST), expected)).toBeGreaterThan(80);
  },
);

test("a residual stream beyond fp16 does not overflow where products are computed in fp16", async () => {
  const { checkpoint } = createLoudCheckpoint();
  const [full, half] = [await runLanguageModel(checkpoint, "float32"), await runLanguageModel(checkpoint, "float16")];
  expect(psnr(Float32Array.from(half.values), Float32Array.from(full.values))).toBeGreaterThan(50);
});

/** The language model on arbitrary embeddings, its fp16 products in fp16; what comes out last. */
async function runLanguageModel(folder: string, dtype: Dtype): Promise<TensorValues> {
  const { config, open } = findCheckpointFolder(folder);
  const sources = open();
  onTestFinished(() => {
    for (const { checkpoint } of sources) checkpoint.close();
  });
  const { weights, run } = createGraphFixture();
  const g = new GraphBuilder(`llm-${dtype}`, new Parameters(sources, []), weights, formatIn(dtype));
  GRAPH_BUILDERS.llm(g, config);
  const { outputs, ...graph } = inHalfPrecision(g.finish());
  const { num_hidden_layers, num_key_value_heads, num_attention_heads, hidden_size } = config.llm;
  const cache = tensorOf({ shape: [1, num_key_value_heads, 0, hidden_size / num_attention_heads], values: [] });
  const feeds = {
    embeds: tensorOf({ shape: [1, 5, hidden_size], values: spread(5 * hidden_size) }),
    past_lengths: int64([0], [1]),
    ...Object.fromEntries(
      Array.from({ length: num_hidden_layers }, (_, i) => [
        [`past.${i}.key`, cache],
        [`past.${i}.value`, cache],
      ]).flat(),
    ),
  };
  return run({ ...graph, outputs: outputs.filter(({ name }) => name === "hidden") }, feeds, "disabled");
}
