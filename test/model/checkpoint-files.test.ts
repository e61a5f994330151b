import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { buildModel } from "../../inference/build-model.ts";
import { changeTensors, createCheckpoint, expectToRun } from "./own-checkpoint.ts";
import { readTensors } from "./tensor-files.ts";

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
