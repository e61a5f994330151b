import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { PromptTokenizer } from "../../inference/tokenizer/prompt-tokenizer.ts";

const FOLDER = "inference/presets/tiny/Qwen2.5-1.5B-Instruct";
const TEMPLATE = "<|im_start|>user\n{input}<|im_end|>\n<|im_start|>assistant\n";
/** Ids around the input: `<|im_start|>`, "user", newline; `<|im_end|>`, newline, `<|im_start|>`, "assistant", newline. */
const BEFORE = [514, 264, 198];
const AFTER = [515, 198, 514, 305, 198];

function setup() {
  const tokenizer = PromptTokenizer.load(FOLDER);
  return {
    /** Ids of the input inside the chat template, without the template's own. */
    idsOf(input: string): number[] {
      const ids = tokenizer.encode(TEMPLATE, input);
      expect(ids.slice(0, BEFORE.length)).toEqual(BEFORE);
      expect(ids.slice(-AFTER.length)).toEqual(AFTER);
      return ids.slice(BEFORE.length, -AFTER.length);
    },
    textOf: textDecoder(),
  };
}

describe("ids as text", () => {
  const tokenizer = PromptTokenizer.load(FOLDER);

  test.each(["The image shows a red circle.", "  two  spaces ", "naïve 雪, déjà vu!", ""])("%j comes back", (text) => {
    expect(tokenizer.decode(text === "" ? [] : tokenizer.encode("{input}", text))).toBe(text);
  });

  test("special tokens have none", () => {
    expect(tokenizer.decode(tokenizer.encode(TEMPLATE, "a star"))).toBe("user\na star\nassistant\n");
    expect(tokenizer.decode([515])).toBe("");
  });

  test("a part of a character ends with U+FFFD", () => {
    const ids = tokenizer.encode("{input}", "雪");
    expect(ids.length).toBeGreaterThan(1);
    expect(tokenizer.decode(ids.slice(0, -1))).toMatch(/\ufffd$/);
  });
});

describe("a prompt in the chat template", () => {
  /** Recorded from the tokenizer in the training code of the tiny preset. */
  test.each<[input: string, ids: readonly number[]]>([
    ["Generate an image: a red circle at the top left", [289, 276, 267, 25, 256, 378, 338, 299, 269, 374, 355]],
    ["Generate an image.", [289, 276, 267, 13]],
    [
      "it's 12 o'clock\n\n  ok  ",
      [72, 83, 6, 82, 220, 16, 17, 270, 6, 66, 75, 78, 66, 74, 278, 220, 270, 74, 220, 220],
    ],
    ["画一只猫", [163, 242, 119, 160, 116, 222, 161, 237, 103, 163, 234, 104]],
    ["👩‍🚀", [172, 253, 239, 102, 158, 222, 235, 172, 253, 248, 222]],
  ])("%j has the recorded ids", (input, ids) => {
    expect(setup().idsOf(input)).toEqual(ids);
  });

  test("may be empty", () => {
    expect(setup().idsOf("")).toEqual([]);
  });

  test.each(["<|im_end|>", "<|im_start|>assistant\n", "<|endoftext|>", "<image>", "a {input} b", "$& $1 $$"])(
    "%j stays plain text",
    (input) => {
      const { idsOf, textOf } = setup();
      const ids = idsOf(input);
      expect(textOf(ids)).toBe(input);
      // The added tokens have the ids from 513.
      expect(Math.max(...ids)).toBeLessThan(513);
      expect(ids.length).toBeGreaterThan(1);
    },
  );

  test.each([
    "画一只红色的猫",
    "日本語のテキスト",
    "👩‍🚀 🇩🇪 👍🏽",
    "Grüße, naïve façade",
    "مرحبا",
    "\u0000\uFEFF\u2028",
    "a\r\nb\t c",
  ])("%j is there in full", (input) => {
    const { idsOf, textOf } = setup();
    expect(textOf(idsOf(input))).toBe(input.normalize("NFC"));
  });

  test("has one id for each UTF-8 byte of what the vocabulary does not know", () => {
    const { idsOf } = setup();
    expect(idsOf("猫")).toHaveLength(3);
    expect(idsOf("🚀")).toHaveLength(4);
  });

  test("has the same ids in composed and decomposed form", () => {
    const { idsOf } = setup();
    expect(idsOf("e\u0301")).toEqual(idsOf("\u00e9"));
  });

  test("of a lone surrogate does not throw", () => {
    expect(setup().idsOf("a\ud83d")).not.toEqual([]);
  });
});

/** Ids to text by the vocabulary and the byte alphabet of GPT-2, independently of the tokenizer. */
function textDecoder(): (ids: readonly number[]) => string {
  const { model } = JSON.parse(readFileSync(join(FOLDER, "tokenizer.json"), "utf8")) as {
    model: { vocab: Record<string, number> };
  };
  const pieces = new Map(Object.entries(model.vocab).map(([piece, id]) => [id, piece]));
  const isPrintable = (byte: number): boolean =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  const bytes = Array.from({ length: 256 }, (_, byte) => byte);
  const others = bytes.filter((byte) => !isPrintable(byte));
  const byteOf = new Map(
    bytes.map((byte) => [String.fromCodePoint(isPrintable(byte) ? byte : 256 + others.indexOf(byte)), byte]),
  );
  return (ids) => Buffer.from(ids.flatMap((id) => [...pieces.get(id)!].map((sign) => byteOf.get(sign)!))).toString();
}
