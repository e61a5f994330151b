import { cpSync, existsSync, mkdirSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { findCheckpointFolder } from "../../inference/model/checkpoint-folder.ts";
import { buildUnipic } from "../../inference/model/unipic.ts";
import { createFolder } from "../checkpoint/temporary-folder.ts";
import { goldenConfigurations } from "../support/golden.ts";

const FULL = "pytorch_model.bin";
const HALF = "pytorch_model.bf16.bin";
const configurations = goldenConfigurations().filter(({ folder }) => existsSync(join(folder, "checkpoint", HALF)));

/** The same golden checkpoint twice: with its fp32 and with its bf16 file. */
function setup(folder: string) {
  const parent = createFolder();
  const half = join(parent, "checkpoint");
  cpSync(join(folder, "checkpoint"), half, { recursive: true });
  renameSync(join(half, HALF), join(half, FULL));
  const build = (checkpoint: string, name: string) => {
    const out = join(parent, name);
    mkdirSync(out);
    const description = buildUnipic(findCheckpointFolder(checkpoint, join(folder, "config.json")), {
      out,
      dtype: "float32",
    });
    return { description, weights: readFileSync(join(out, "weights.bin")) };
  };
  return { full: build(join(folder, "checkpoint"), "fp32"), half: build(half, "bf16") };
}

test.each(configurations)("the bf16 and the fp32 file of $name build the same model", ({ folder }) => {
  const { full, half } = setup(folder);
  expect(full.weights.length).toBeGreaterThan(0);
  expect(half.weights.equals(full.weights)).toBe(true);
  expect(half.description).toEqual(full.description);
});
