import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { CheckpointError } from "../../inference/checkpoint/checkpoint.ts";
import { changeTensors, copyPreset, createCheckpoint } from "./own-checkpoint.ts";

describe("a build refuses", () => {
  test.each(["pytorch_model.bin", "kl16.ckpt"])("damaged bytes in %s, with the file and the record", async (name) => {
    const { checkpoint, build, results } = copyPreset();
    const file = join(checkpoint, name);
    const bytes = readFileSync(file);
    const middle = Math.floor(bytes.length / 2);
    for (let at = middle; at < middle + 200; at++) bytes.writeUInt8(bytes.readUInt8(at) ^ 0xff, at);
    writeFileSync(file, bytes);
    const failure: unknown = await build().catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(CheckpointError);
    expect(failure).toHaveProperty(
      "message",
      expect.stringMatching(`^${file}: record "[a-z0-9_]+/data/\\d+" is damaged: its checksum is `),
    );
    expect(results()).toEqual([]);
  });

  test.each([
    ["pytorch_model.bin", undefined, "llm.model.embed_tokens.weight", Number.NaN, "NaN"],
    ["pytorch_model.bin", undefined, "mar.mask_token", Number.POSITIVE_INFINITY, "Infinity"],
    ["kl16.ckpt", "model", "decoder.conv_in.weight", Number.NEGATIVE_INFINITY, "-Infinity"],
  ])("a weight that is not finite in %s (root %s), with the tensor: %s", async (name, root, tensor, value, word) => {
    const { checkpoint, build, results } = createCheckpoint();
    const file = join(checkpoint, name);
    changeTensors(file, (tensors) => tensors.get(tensor)!.values.set([value], 3), root);
    const failure: unknown = await build().catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(CheckpointError);
    expect(failure).toHaveProperty(
      "message",
      `${file}: tensor "${tensor}" is damaged: its value 3 is ${word}, and weights must be finite. Download it again.`,
    );
    expect(results()).toEqual([]);
  });
});
