import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { buildModel } from "../../inference/build-model.ts";
import { loadManifest } from "../../inference/manifest.ts";
import { createFolder } from "../checkpoint/temporary-folder.ts";
import { writeSmallestCheckpoint } from "../model/smallest-checkpoint.ts";
import { runCommand } from "./command.ts";

function setup() {
  const folder = createFolder();
  const checkpoint = join(folder, "checkpoint");
  writeSmallestCheckpoint(checkpoint);
  return { folder, checkpoint, out: join(folder, "model") };
}

test("build makes a model folder, and does nothing the second time", async () => {
  const { checkpoint, out } = setup();
  const first = await runCommand("build", checkpoint, "--out", out);
  expect(first).toMatchObject({ code: 0, output: "" });
  expect(first.errors).toEqual([expect.stringMatching(/^built smallest in .*model \(\d+\.\d s\)$/)]);
  const manifest = loadManifest(out);
  const second = await runCommand("build", checkpoint, "--out", out);
  expect(second).toEqual({ code: 0, output: "", errors: [`smallest in ${out} is up to date`] });
  expect(loadManifest(out)).toEqual(manifest);
});

test("inspect prints what a model folder contains", async () => {
  const { checkpoint, out } = setup();
  await buildModel({ checkpointFolder: checkpoint, out });
  const { code, output, errors } = await runCommand("inspect", out);
  expect([code, errors]).toEqual([0, []]);
  const { latentPreview, ...manifest } = loadManifest(out);
  expect(latentPreview).toHaveLength(3);
  expect(JSON.parse(output)).toEqual(manifest);
});

test("build takes the dimensions of another file", async () => {
  const { folder, checkpoint, out } = setup();
  const config = join(folder, "other.json");
  const content = JSON.parse(readFileSync(join(checkpoint, "unipic.json"), "utf8")) as object;
  writeFileSync(config, JSON.stringify({ ...content, name: "renamed" }));
  expect((await runCommand("build", checkpoint, "--out", out, "--config", config)).code).toBe(0);
  expect(loadManifest(out).preset).toBe("renamed");
});

test("build says in one line what is wrong with a checkpoint", async () => {
  const { folder, out } = setup();
  const missing = join(folder, "nowhere");
  expect(await runCommand("build", missing, "--out", out)).toEqual({
    code: 1,
    output: "",
    errors: [
      `model: There is no checkpoint folder at ${missing}. Name the folder that holds pytorch_model.bin and kl16.ckpt.`,
    ],
  });
  expect(existsSync(out)).toBe(false);
});

test("inspect says in one line that a folder is no model", async () => {
  const { folder } = setup();
  mkdirSync(join(folder, "empty"));
  expect(await runCommand("inspect", join(folder, "empty"))).toEqual({
    code: 1,
    output: "",
    errors: [
      `model: ${join(folder, "empty")} is not a built model: it has no manifest.json. Build it first: npm run atelier -- model build <checkpoint folder> --out ${join(folder, "empty")}`,
    ],
  });
});

test("build makes a model in the dtype that is asked for, and says which there are", async () => {
  const { checkpoint, out } = setup();
  expect((await runCommand("build", checkpoint, "--out", out, "--dtype", "int8")).code).toBe(0);
  expect(loadManifest(out).dtype).toBe("int8");
  expect(await runCommand("build", checkpoint, "--out", out, "--dtype", "int4")).toEqual({
    code: 1,
    output: "",
    errors: [
      "error: option '--dtype <dtype>' argument 'int4' is invalid. Allowed choices are float32, int8, float16, bfloat16.",
    ],
  });
});
