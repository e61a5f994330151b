import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createFolder } from "../checkpoint/temporary-folder.ts";
import { openTinyModel, type TinyModel } from "../support/tiny-model.ts";
import { runCommand } from "./command.ts";

const SAMPLES = [{ prompt: "a red circle", tag: "first" }, { prompt: "  a blue square " }, { prompt: "a star" }];
const SHORT = ["--steps", "2", "--diffusion-steps", "3", "--seed", "5", "--batch-size", "2"];

let model: TinyModel;
beforeAll(async () => {
  model = openTinyModel();
});
afterAll(() => model.remove());

function setup(samples: unknown = SAMPLES) {
  const folder = createFolder();
  const data = join(folder, "prompts.json");
  const out = join(folder, "pictures");
  writeFileSync(data, typeof samples === "string" ? samples : JSON.stringify(samples));
  return {
    data,
    out,
    read: (name: string) => readFileSync(join(out, name)),
    run: (...flags: readonly string[]) =>
      runCommand(
        "run",
        "batch-text-to-image",
        "--model",
        model.folder,
        "--data",
        data,
        "--out",
        out,
        ...SHORT,
        ...flags,
      ),
  };
}

test("every prompt gets a tiled picture and its description, under its number", async () => {
  const { out, run, read } = setup();
  const { code, errors } = await run();
  expect([code, errors.at(-1)]).toEqual([0, `3 prompts in ${out} (seed 5)`]);
  expect(readdirSync(out).sort()).toEqual(
    [0, 1, 2].flatMap((index) => [`0000000${index}.jpg`, `0000000${index}.json`]),
  );
  expect(JSON.parse(read("00000000.json").toString())).toEqual({ prompt: "a red circle", tag: "first", sample_id: 0 });
  expect(await sharp(read("00000002.jpg")).metadata()).toMatchObject({ format: "jpeg", width: 192, height: 192 });
});

test("a second run draws what is missing, and leaves the rest as it is", async () => {
  const { out, run, read } = setup();
  await run();
  const before = read("00000001.jpg");
  const kept = statSync(join(out, "00000000.jpg")).mtimeMs;
  rmSync(join(out, "00000001.json")); // as if it had been killed between picture and description
  writeFileSync(join(out, "00000001.jpg"), "half a picture");
  const { errors } = await run();
  expect(errors[0]).toBe("2 of 3 are done");
  expect(statSync(join(out, "00000000.jpg")).mtimeMs).toBe(kept);
  // Drawn alone this time: fp32 sums come in another order.
  const pixels = async (bytes: Buffer): Promise<Buffer> => sharp(bytes).raw().toBuffer();
  const [a, b] = [await pixels(before), await pixels(read("00000001.jpg"))];
  expect(a.reduce((worst, level, i) => Math.max(worst, Math.abs(level - b[i]!)), 0)).toBeLessThanOrEqual(3);
});

describe("refused in one line, with what to give:", () => {
  test.each<[string, unknown, string]>([
    ["no JSON", "[{", "is not valid JSON."],
    ["no list", { prompt: "a" }, "it: "],
    ["an empty list", [], "is empty."],
    ["a sample without a prompt", [{ prompt: "a" }, { text: "b" }], "1.prompt: "],
    ["a prompt of spaces", [{ prompt: "  " }], "0.prompt: is empty."],
  ])("%s", async (_, samples, problem) => {
    const { data, run } = setup(samples);
    const { code, errors } = await run();
    expect(code).toBe(1);
    expect(errors).toHaveLength(1);
    expect(errors[0]).toContain(`model: --data ${data}: ${problem}`);
    expect(errors[0]).toMatch(/Give a JSON list such as \[\{"prompt": "a star"\}\]\.$/);
  });

  test("a file that is not there", async () => {
    const { run } = setup();
    const { errors } = await run("--data", "/nowhere.json");
    expect(errors).toEqual([
      expect.stringMatching(/^model: --data \/nowhere\.json: cannot be read\. Give a JSON list/),
    ]);
  });
});
