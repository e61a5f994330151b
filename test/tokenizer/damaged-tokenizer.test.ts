import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { PromptTokenizer } from "../../inference/tokenizer/prompt-tokenizer.ts";
import { createFolder } from "../checkpoint/temporary-folder.ts";

const SOURCE = "inference/presets/tiny/Qwen2.5-1.5B-Instruct";

/** The tiny preset's tokenizer in a folder of its own. */
function setup() {
  const folder = createFolder();
  const tokenizerFile = join(folder, "tokenizer.json");
  const configFile = join(folder, "tokenizer_config.json");
  const text = readFileSync(join(SOURCE, "tokenizer.json"), "utf8");
  writeFileSync(tokenizerFile, text);
  writeFileSync(configFile, readFileSync(join(SOURCE, "tokenizer_config.json")));
  return {
    tokenizerFile,
    configFile,
    text,
    json: JSON.parse(text) as Record<string, unknown> & { model: Record<string, unknown> },
    load: () => PromptTokenizer.load(folder),
  };
}

test("a complete tokenizer loads", () => {
  expect(setup().load().encode("{input}", "a").length).toBe(1);
});

test.each(["tokenizerFile", "configFile"] as const)("a missing %s is named, with what to do", (which) => {
  const bundle = setup();
  rmSync(bundle[which]);
  expect(bundle.load).toThrow(`${bundle[which]} is missing. Copy the tokenizer of the checkpoint into the folder.`);
});

test.each(["tokenizerFile", "configFile"] as const)("a %s that breaks off is named, with what to do", (which) => {
  const bundle = setup();
  writeFileSync(bundle[which], bundle.text.slice(0, 1000));
  expect(bundle.load).toThrow(`${bundle[which]} is not valid JSON. Restore the file that came with the checkpoint.`);
});

test.each([
  ["Unigram", /of type "Unigram"; only BPE \(Qwen2\) is supported/],
  [undefined, /of type "unknown"; only BPE/],
])("a tokenizer of the type %s is refused by its type", (type, message) => {
  const { tokenizerFile, json, load } = setup();
  writeFileSync(tokenizerFile, JSON.stringify({ ...json, model: { ...json.model, type } }));
  expect(load).toThrow(message);
  expect(load).toThrow(tokenizerFile);
});

test.each<[string, (json: ReturnType<typeof setup>["json"]) => unknown]>([
  ["an empty object", () => ({})],
  ["a list", () => []],
  ["no vocabulary", (json) => ({ ...json, model: { ...json.model, vocab: undefined } })],
  ["no merges", (json) => ({ ...json, model: { ...json.model, merges: undefined } })],
  ["an added token without an id", (json) => ({ ...json, added_tokens: [{ content: "<image>" }] })],
  ["a pre-tokenizer of an unknown type", (json) => ({ ...json, pre_tokenizer: { type: "Runes" } })],
])("a tokenizer.json with %s is named as damaged", (_, damage) => {
  const { tokenizerFile, json, load } = setup();
  writeFileSync(tokenizerFile, JSON.stringify(damage(json)));
  expect(load).toThrow(`${tokenizerFile} is no Qwen2 tokenizer`);
});

test("a tokenizer_config.json that is no object is named as damaged", () => {
  const { configFile, load } = setup();
  writeFileSync(configFile, "[]");
  expect(load).toThrow(`${configFile} is no Qwen2 tokenizer`);
});
