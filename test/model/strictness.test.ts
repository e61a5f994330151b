import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { loadManifest } from "../../inference/manifest.ts";
import { changeTensors, createCheckpoint, expectToRun } from "./own-checkpoint.ts";
import type { StoredValues } from "./tensor-files.ts";

const MODEL_FILE = "pytorch_model.bin";
const VAE_FILE = "kl16.ckpt";
const ROOTS: Readonly<Record<string, string | undefined>> = { [VAE_FILE]: "model" };

/** A checkpoint of which one file is changed, and a build of it that is expected to fail. */
function setup() {
  const copy = createCheckpoint();
  return {
    ...copy,
    change: (file: string, change: (tensors: Map<string, StoredValues>) => void): void =>
      changeTensors(join(copy.checkpoint, file), change, ROOTS[file]),
  };
}

const zeros = (...shape: number[]): StoredValues => ({
  shape,
  values: new Float32Array(shape.reduce((product, dim) => product * dim, 1)),
});

/** Tensors of every part, of every way to be used: as it is, transposed, joined, in part, stored without a graph. */
const NEEDED = [
  [MODEL_FILE, "mar.encoder_blocks.1.attn.qkv.weight"],
  [MODEL_FILE, "mar.decoder_blocks.1.attn.qkv.bias"],
  [MODEL_FILE, "mar.diffusion_pos_embed_learned"],
  [MODEL_FILE, "llm.model.layers.0.self_attn.k_proj.bias"],
  [MODEL_FILE, "llm.model.embed_tokens.weight"],
  [VAE_FILE, "post_quant_conv.bias"],
  [VAE_FILE, "encoder.down.0.downsample.conv.weight"],
  [VAE_FILE, "decoder.mid.block_1.norm1.weight"],
] as const;

describe("a tensor that is missing", () => {
  test.each(NEEDED)("from %s is named with the files that were searched: %s", async (file, name) => {
    const { change, build, checkpoint, results } = setup();
    change(file, (tensors) => expect(tensors.delete(name)).toBe(true));
    const key = file === VAE_FILE ? `vae.${name}` : name;
    const searched = `${join(checkpoint, MODEL_FILE)}, ${join(checkpoint, VAE_FILE)}`;
    await expect(build()).rejects.toThrow(`Tensor "${key}" is missing; looked in ${searched}.`);
    expect(results()).toEqual([]);
  });
});

describe("a tensor of another shape", () => {
  test.each(NEEDED)("in %s is named with both shapes: %s", async (file, name) => {
    const { change, build, checkpoint, results } = setup();
    let shape: readonly number[] = [];
    change(file, (tensors) => {
      shape = tensors.get(name)!.shape;
      tensors.set(name, zeros(...shape.slice(0, -1), shape.at(-1)! + 1));
    });
    const found = [...shape.slice(0, -1), shape.at(-1)! + 1].join(", ");
    await expect(build()).rejects.toThrow(
      `Tensor "${name}" of ${join(checkpoint, file)} has shape [${found}]; this model needs [${shape.join(", ")}].`,
    );
    expect(results()).toEqual([]);
  });

  test("is refused even if it has as many values", async () => {
    const { change, build, results } = setup();
    const name = "mar.z_proj.weight";
    change(MODEL_FILE, (tensors) => {
      const { shape, values } = tensors.get(name)!;
      tensors.set(name, { shape: shape.toReversed(), values });
    });
    await expect(build()).rejects.toThrow(`Tensor "${name}"`);
    expect(results()).toEqual([]);
  });
});

describe("a tensor that no graph reads", () => {
  test.each([
    [MODEL_FILE, "mar.encoder_blocks.9.norm1.weight"],
    [MODEL_FILE, "llm.model.layers.0.self_attn.q_norm.weight"],
    [MODEL_FILE, "optimizer.step"],
    [VAE_FILE, "decoder.up.0.attn.0.q.weight"],
  ])("in %s is named: %s", async (file, name) => {
    const { change, build, checkpoint, results } = setup();
    change(file, (tensors) => tensors.set(name, zeros(2)));
    await expect(build()).rejects.toThrow(
      `${join(checkpoint, file)} has tensors that this model has no place for: ${name}.`,
    );
    expect(results()).toEqual([]);
  });

  test("is one of many: five are shown, the others counted", async () => {
    const { change, build } = setup();
    change(MODEL_FILE, (tensors) => {
      for (let i = 0; i < 8; i++) tensors.set(`extra.${i}`, zeros(1));
    });
    await expect(build()).rejects.toThrow("extra.0, extra.1, extra.2, extra.3, extra.4 and 3 more.");
  });

  test("is left out if the published checkpoints have it", async () => {
    const { change, build, out } = setup();
    change(MODEL_FILE, (tensors) => {
      for (const name of [
        "siglip2.vision_model.embeddings.patch_embedding.weight",
        "siglip2_proj.0.weight",
        "mar.class_emb.weight",
      ]) {
        tensors.set(name, zeros(2, 3));
      }
    });
    change(VAE_FILE, (tensors) => tensors.set("loss.discriminator.main.0.weight", zeros(2, 3)));
    expect((await build()).isNew).toBe(true);
    await expectToRun(out);
  });
});

test("a failed build leaves the model that was there before", async () => {
  const { change, build, out, results } = setup();
  const { manifest } = await build();
  change(MODEL_FILE, (tensors) => tensors.delete("proj_out.2.weight"));
  await expect(build()).rejects.toThrow('"proj_out.2.weight"');
  expect(results()).toEqual(["model"]);
  expect(loadManifest(out)).toEqual(manifest);
  await expectToRun(out);
});
