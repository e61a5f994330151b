import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { buildModel } from "../../inference/build-model.ts";
import { LoadedModel } from "../../inference/runtime/loaded-model.ts";
import { float32, valuesOf } from "../../inference/runtime/tensor.ts";
import { changeTensors, createCheckpoint, expectToRun } from "./own-checkpoint.ts";
import { readTensors, type StoredValues, writeTensors } from "./tensor-files.ts";

function setup() {
  const copy = createCheckpoint();
  return {
    ...copy,
    modelFile: join(copy.checkpoint, "pytorch_model.bin"),
    vaeFile: join(copy.checkpoint, "kl16.ckpt"),
  };
}

describe("a clear error", () => {
  test("says that the checkpoint folder is missing, and what to name instead", async () => {
    const { parent, out, results } = setup();
    const missing = join(parent, "nowhere");
    await expect(buildModel({ checkpointFolder: missing, out })).rejects.toThrow(
      `There is no checkpoint folder at ${missing}. Name the folder that holds pytorch_model.bin and kl16.ckpt.`,
    );
    expect(results()).toEqual([]);
  });

  test("says the same of a file in its place", async () => {
    const { modelFile, out } = setup();
    await expect(buildModel({ checkpointFolder: modelFile, out })).rejects.toThrow(
      `There is no checkpoint folder at ${modelFile}.`,
    );
  });

  test("says that the folder holds no weights", async () => {
    const { modelFile, checkpoint, build, results } = setup();
    rmSync(modelFile);
    await expect(build()).rejects.toThrow(`${checkpoint} holds no weights: one of pytorch_model.bin, `);
    expect(results()).toEqual([]);
  });

  test("says that kl16.ckpt is missing", async () => {
    const { vaeFile, modelFile, build, results } = setup();
    rmSync(vaeFile);
    await expect(build()).rejects.toThrow(`kl16.ckpt is missing beside ${modelFile}, which has no vae.* tensors.`);
    expect(results()).toEqual([]);
  });

  test("says that the language model is nowhere", async () => {
    const { modelFile, build, results } = setup();
    changeTensors(modelFile, (tensors) => {
      for (const name of [...tensors.keys()]) if (name.startsWith("llm.")) tensors.delete(name);
    });
    await expect(build()).rejects.toThrow(
      `${modelFile} has no llm.* tensors, and Qwen2.5-1.5B-Instruct beside it no weights.`,
    );
    expect(results()).toEqual([]);
  });

  test("says that a named configuration file is missing", async () => {
    const { parent, checkpoint, out } = setup();
    const configFile = join(parent, "other.json");
    await expect(buildModel({ checkpointFolder: checkpoint, out, configFile })).rejects.toThrow(
      `Cannot read ${configFile}. Check that it exists and that you may read it.`,
    );
  });

  test.each(["modelFile", "vaeFile"] as const)("names a truncated file (%s)", async (which) => {
    const bundle = setup();
    const bytes = readFileSync(bundle[which]);
    for (const length of [0, 1000, Math.floor(bytes.length / 2), bytes.length - 1]) {
      writeFileSync(bundle[which], bytes.subarray(0, length));
      await expect(bundle.build()).rejects.toThrow(bundle[which]);
      expect(bundle.results()).toEqual([]);
    }
  });

  test("says that the model folder's place holds something else, and leaves it alone", async () => {
    const { out, build } = setup();
    writeFileSync(out, "a file");
    await expect(build()).rejects.toThrow(`${out} holds something else than a built model.`);
    expect(readFileSync(out, "utf8")).toBe("a file");
  });
});

test("vae.* tensors in the model file stand in for kl16.ckpt", async () => {
  const { vaeFile, modelFile, build, out } = setup();
  const { manifest } = await build();
  const vae = readTensors(vaeFile, "model");
  rmSync(vaeFile);
  changeTensors(modelFile, (tensors) => {
    for (const [name, tensor] of vae) tensors.set(`vae.${name}`, tensor);
  });
  const again = await build();
  expect(again.isNew).toBe(true);
  expect(again.manifest.digest).toBe(manifest.digest);
  await expectToRun(out);
});

describe("a checkpoint without llm.* tensors", () => {
  /** Moves the language model's tensors into its own folder, under the names that they have there. */
  function moveLanguageModel({ checkpoint, modelFile }: ReturnType<typeof setup>): string {
    const own = new Map<string, StoredValues>();
    changeTensors(modelFile, (tensors) => {
      for (const [name, tensor] of [...tensors]) {
        if (!name.startsWith("llm.")) continue;
        own.set(name.slice("llm.".length), tensor);
        tensors.delete(name);
      }
    });
    const file = join(checkpoint, "Qwen2.5-1.5B-Instruct/model.safetensors");
    writeTensors(file, own);
    return file;
  }

  test("takes the weights of the language model's folder, to the same model", async () => {
    const copy = setup();
    const whole = (await copy.build()).manifest.digest;
    moveLanguageModel(copy);
    const { isNew, manifest } = await copy.build();
    expect([isNew, manifest.digest]).toEqual([true, whole]);
    await expectToRun(copy.out);
  });

  test("is built again when those weights change", async () => {
    const copy = setup();
    const file = moveLanguageModel(copy);
    const before = (await copy.build()).manifest.digest;
    changeTensors(file, (tensors) => tensors.get("model.norm.weight")!.values.fill(2));
    const after = await copy.build();
    expect(after.isNew).toBe(true);
    expect(after.manifest.digest).not.toBe(before);
  });

  test("in part is an error that names the first tensor", async () => {
    const copy = setup();
    changeTensors(copy.modelFile, (tensors) => tensors.delete("llm.model.norm.weight"));
    await expect(copy.build()).rejects.toThrow('Tensor "llm.model.norm.weight" is missing');
  });
});

test("the head of the language model is its own weight if there is one, else the embeddings", async () => {
  const copy = setup();
  const logitsOf = async (): Promise<readonly number[]> => {
    await copy.build();
    const model = LoadedModel.open(copy.out, { provider: "cpu", threads: 1 });
    try {
      const hidden = float32(new Float32Array(8).fill(1), [1, 8]);
      return [...valuesOf((await model.run("llm-head", { hidden }, ["logits"])).logits)];
    } finally {
      await model.close();
    }
  };
  const embeddings = readTensors(copy.modelFile).get("llm.model.embed_tokens.weight")!.values;
  const sums = Array.from({ length: 16 }, (_, id) => embeddings.subarray(8 * id, 8 * id + 8).reduce((a, b) => a + b));
  for (const [id, logit] of (await logitsOf()).entries()) expect(logit).toBeCloseTo(sums[id]!, 5);
  changeTensors(copy.modelFile, (tensors) =>
    tensors.set("llm.lm_head.weight", { shape: [16, 8], values: new Float32Array(128).fill(0.5) }),
  );
  expect(await logitsOf()).toEqual(Array(16).fill(4));
});
