import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { buildModel } from "../../inference/build-model.ts";
import { openPipelines } from "../../inference/pipelines/pipelines.ts";
import { changeJson, createCheckpoint } from "./own-checkpoint.ts";

function setup() {
  const copy = createCheckpoint();
  const folder = join(copy.checkpoint, "Qwen2.5-1.5B-Instruct");
  return { ...copy, folder, tokenizerFile: join(folder, "tokenizer.json") };
}

describe("a build is refused", () => {
  test.each(["tokenizer.json", "tokenizer_config.json"])("when %s is missing", async (name) => {
    const { folder, build, results } = setup();
    rmSync(join(folder, name));
    await expect(build()).rejects.toThrow(
      `${join(folder, name)} is missing. Copy the tokenizer of the checkpoint into the folder.`,
    );
    expect(results()).toEqual([]);
  });

  test("when the whole folder of the language model is missing", async () => {
    const { folder, tokenizerFile, build, results } = setup();
    rmSync(folder, { recursive: true });
    await expect(build()).rejects.toThrow(`${tokenizerFile} is missing.`);
    expect(results()).toEqual([]);
  });

  test.each([
    ["is empty", "", "is not valid JSON. Restore the file that came with the checkpoint."],
    ["breaks off", '{"model": {"type": "BPE", "vo', "is not valid JSON."],
    ["holds no tokenizer", "{}", "is no Qwen2 tokenizer"],
  ])("when tokenizer.json %s", async (_, text, message) => {
    const { tokenizerFile, build, results } = setup();
    writeFileSync(tokenizerFile, text);
    await expect(build()).rejects.toThrow(`${tokenizerFile} ${message}`);
    expect(results()).toEqual([]);
  });

  test("when tokenizer.json is of another type", async () => {
    const { tokenizerFile, build, results } = setup();
    changeJson(tokenizerFile, (content) => {
      content["model"]!["type"] = "Unigram";
    });
    await expect(build()).rejects.toThrow(`${tokenizerFile} is a tokenizer of type "Unigram"; only BPE (Qwen2)`);
    expect(results()).toEqual([]);
  });

  test("when tokenizer.json knows no token", async () => {
    const { tokenizerFile, build, results } = setup();
    changeJson(tokenizerFile, (content) => {
      Object.assign(content["model"]!, { vocab: {}, merges: [] });
    });
    await expect(build()).rejects.toThrow(`${tokenizerFile} is no Qwen2 tokenizer (its vocabulary is empty).`);
    expect(results()).toEqual([]);
  });
});

test("a build that allows it is done without a tokenizer, and says so, but draws for nobody", async () => {
  const { tokenizerFile, checkpoint, out } = setup();
  rmSync(tokenizerFile);
  const { manifest } = await buildModel({ checkpointFolder: checkpoint, out, allowsNoTokenizer: true });
  expect(manifest.hasTokenizer).toBe(false);
  expect(() => openPipelines(out, { provider: "cpu", threads: 1 })).toThrow(
    `${out} has no tokenizer: its checkpoint folder had no Qwen2.5-1.5B-Instruct/tokenizer.json. Add it and build again.`,
  );
});
