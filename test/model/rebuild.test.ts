import { mkdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { buildModel } from "../../inference/build-model.ts";
import { loadManifest } from "../../inference/manifest.ts";
import { changeJson, changeTensors, createCheckpoint, expectToRun } from "./own-checkpoint.ts";
import { readTensors, writeTensors } from "./tensor-files.ts";

/** A checkpoint that was built once. */
async function setup() {
  const copy = createCheckpoint();
  const { manifest } = await copy.build();
  const weights = (): Buffer => readFileSync(join(copy.out, "weights.bin"));
  return { ...copy, manifest, weights, modelFile: join(copy.checkpoint, "pytorch_model.bin") };
}

/** Moves the time of a file by a second, as writing to it would. */
function touch(file: string): void {
  const { atime, mtimeMs } = statSync(file);
  utimesSync(file, atime, (mtimeMs + 1000) / 1000);
}

test("a build is skipped when nothing changed", async () => {
  const { build, out, manifest } = await setup();
  const before = statSync(join(out, "weights.bin"));
  expect(await build()).toEqual({ manifest, isNew: false });
  expect(statSync(join(out, "weights.bin"))).toEqual(before);
});

describe("a build is redone", () => {
  test("when a weight changed, and gives another digest", async () => {
    const { build, modelFile, manifest, weights, out } = await setup();
    const before = weights();
    changeTensors(modelFile, (tensors) => {
      tensors.get("llm.model.embed_tokens.weight")!.values[0]! += 1;
    });
    const again = await build();
    expect(again.isNew).toBe(true);
    expect(again.manifest.digest).not.toBe(manifest.digest);
    expect(weights().equals(before)).toBe(false);
    await expectToRun(out);
  });

  test("when another of its files is newer, with the same digest if that is the same", async () => {
    const { build, checkpoint, manifest } = await setup();
    for (const name of ["kl16.ckpt", "Qwen2.5-1.5B-Instruct/tokenizer.json"]) {
      touch(join(checkpoint, name));
      const again = await build();
      expect(again.isNew, name).toBe(true);
      expect(again.manifest.digest, name).toBe(manifest.digest);
    }
    changeJson(join(checkpoint, "unipic.json"), (content) => {
      content["defaults"]!["steps"] = 7;
    });
    const reconfigured = await build();
    expect(reconfigured.isNew).toBe(true);
    expect(reconfigured.manifest.defaults.steps).toBe(7);
  });

  test("when a file of a checkpoint in several files changed", async () => {
    const { build, checkpoint } = createCheckpoint();
    const modelFile = join(checkpoint, "pytorch_model.bin");
    const tensors = readTensors(modelFile);
    rmSync(modelFile);
    const shards = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"];
    const shardOf = (name: string): string => shards[name.startsWith("llm.") ? 1 : 0]!;
    for (const shard of shards) {
      writeTensors(join(checkpoint, shard), new Map([...tensors].filter(([name]) => shardOf(name) === shard)));
    }
    const weight_map = Object.fromEntries([...tensors.keys()].map((name) => [name, shardOf(name)]));
    writeFileSync(join(checkpoint, "pytorch_model.bin.index.json"), JSON.stringify({ weight_map }));
    expect((await build()).isNew).toBe(true);
    expect((await build()).isNew).toBe(false);
    changeTensors(join(checkpoint, shards[1]!), (shard) => {
      shard.get("llm.model.norm.weight")!.values[0]! += 1;
    });
    expect((await build()).isNew).toBe(true);
  });

  test("when the manifest is damaged or of another version", async () => {
    const { build, out, manifest } = await setup();
    for (const text of ['{"format": 1, "preset"', '{"format": 0}']) {
      writeFileSync(join(out, "manifest.json"), text);
      expect(() => loadManifest(out)).toThrow(join(out, "manifest.json"));
      expect((await build()).isNew).toBe(true);
      expect(loadManifest(out)).toEqual(manifest);
    }
  });
});

describe("a folder that holds something else", () => {
  test("is refused and left alone", async () => {
    const { build, out } = createCheckpoint();
    mkdirSync(out);
    writeFileSync(join(out, "notes.txt"), "mine");
    await expect(build()).rejects.toThrow(
      `${out} holds something else than a built model. Name an empty or new folder.`,
    );
    expect(readFileSync(join(out, "notes.txt"), "utf8")).toBe("mine");
  });

  test("is refused and left alone even if that has a manifest.json of its own", async () => {
    const { build, out } = createCheckpoint();
    mkdirSync(out);
    writeFileSync(join(out, "manifest.json"), '{"name": "a web app"}');
    writeFileSync(join(out, "index.html"), "mine");
    await expect(build()).rejects.toThrow(`${out} holds something else than a built model.`);
    expect(readFileSync(join(out, "index.html"), "utf8")).toBe("mine");
  });

  test("is no model to load", () => {
    const { out } = createCheckpoint();
    expect(() => loadManifest(out)).toThrow(`${out} is not a built model: it has no manifest.json.`);
  });
});

test("an empty folder is filled, and a missing one is made with those above it", async () => {
  const { build, out, checkpoint, parent } = createCheckpoint();
  mkdirSync(out);
  expect((await build()).isNew).toBe(true);
  await expectToRun(out);
  const deep = join(parent, "models", "of", "mine");
  await buildModel({ checkpointFolder: checkpoint, out: deep });
  await expectToRun(deep);
});

test("the option for rotary frequencies counts as the configuration's own value", async () => {
  const { checkpoint, parent, manifest } = await setup();
  const configured = createCheckpoint();
  changeJson(join(configured.checkpoint, "unipic.json"), (content) => {
    content["llm"]!["rope_inv_freq_bf16"] = false;
  });
  const expected = (await configured.build()).manifest;
  const out = join(parent, "unrounded");
  const build = (ropeInvFreqBf16: boolean) => buildModel({ checkpointFolder: checkpoint, out, ropeInvFreqBf16 });
  const unrounded = (await build(false)).manifest;
  expect([manifest.ropeInvFreqBf16, unrounded.ropeInvFreqBf16]).toEqual([true, false]);
  expect(unrounded.digest).toBe(expected.digest);
  expect(unrounded.digest).not.toBe(manifest.digest);
  expect(await build(false)).toMatchObject({ isNew: false });
  expect(await build(true)).toMatchObject({ isNew: true, manifest: { digest: manifest.digest } });
});

test("a build tells how far it is, from nothing to all", async () => {
  const { checkpoint, out } = createCheckpoint();
  const told: string[] = [];
  const atEnd = new Map<string, number>();
  let last = 0;
  await buildModel({
    checkpointFolder: checkpoint,
    out,
    onProgress({ stage, share }) {
      if (told.at(-1) !== stage) last = 0;
      expect(share).toBeGreaterThanOrEqual(last);
      last = share;
      if (told.at(-1) !== stage) told.push(stage);
      if (stage !== "preview") atEnd.set(stage, share);
    },
  });
  expect(told).toEqual(["weights", "digest", "preview"]);
  expect([...atEnd.values()]).toEqual([1, 1]);
});
