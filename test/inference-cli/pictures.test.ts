import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { render, type Scene } from "../../inference/eval/shapes-world.ts";
import { writeImage } from "../../inference/image/rgb-image.ts";
import { createFolder } from "../checkpoint/temporary-folder.ts";
import { openTinyModel, type TinyModel } from "../support/tiny-model.ts";
import { runCommand } from "./command.ts";

const SCENE: Scene = [{ shape: "circle", color: "red", x: 48, y: 48 }];

let model: TinyModel;
beforeAll(async () => {
  model = openTinyModel();
});
afterAll(() => model.remove());

async function setup() {
  const folder = createFolder();
  const image = join(folder, "source.png");
  await writeImage(render(SCENE), image);
  return {
    folder,
    image,
    /** Of a flag that is given twice the last one counts. */
    edit: (name: string, ...flags: readonly string[]) =>
      runCommand(
        ...["run", "image-edit", "--model", model.folder, "--image", image, "--out", join(folder, name)],
        ...["--prompt", "make the circle blue", "--steps", "2", "--diffusion-steps", "3", "--seed", "5", ...flags],
      ),
    vary: (name: string, ...flags: readonly string[]) =>
      runCommand(
        ...["run", "image-variation", "--model", model.folder, "--image", image, "--out", join(folder, name)],
        ...["--steps", "2", "--diffusion-steps", "3", "--seed", "5", ...flags],
      ),
    ask: (...flags: readonly string[]) =>
      runCommand("run", "image-to-text", "--model", model.folder, "--image", image, ...flags),
  };
}

describe("run image-edit", () => {
  test("writes a grid of variants, the same for the same seed", async () => {
    const { folder, edit } = await setup();
    const { code, output, errors } = await edit("a.png", "--grid-size", "2");
    expect([code, output]).toEqual([0, ""]);
    expect(errors.at(-1)).toBe(`wrote ${join(folder, "a.png")} (seed 5)`);
    expect(await sharp(join(folder, "a.png")).metadata()).toMatchObject({ format: "png", width: 192, height: 192 });
    await edit("b.png", "--grid-size", "2");
    expect(readFileSync(join(folder, "b.png")).equals(readFileSync(join(folder, "a.png")))).toBe(true);
  });

  test.each([
    ["a picture that is not there", ["--image", "/nowhere/a.png"], "--image /nowhere/a.png: there is no such file."],
    ["a folder for a picture", ["--image", "."], "--image .: there is no such file."],
    ["a size between two patches", ["--width", "100"], "100 x 96 pixels cannot be drawn"],
    ["an empty instruction", ["--prompt", " "], "The instruction is empty."],
  ])("refuses %s in one line, and writes nothing", async (_, flags, message) => {
    const { folder, edit } = await setup();
    const { code, errors } = await edit("refused.png", ...flags);
    expect(code).toBe(1);
    expect(errors.at(-1)).toContain(`model: ${message}`);
    expect(existsSync(join(folder, "refused.png"))).toBe(false);
  });

  test("refuses what is no picture", async () => {
    const { folder, edit } = await setup();
    const text = join(folder, "text.png");
    writeFileSync(text, "no picture");
    const { code, errors } = await edit("refused.png", "--image", text);
    expect([code, errors]).toEqual([1, [expect.stringMatching(/^model: This is no picture that can be read\. /)]]);
  });
});

test("run image-variation writes a picture like the given one, the same for the same seed", async () => {
  const { folder, vary } = await setup();
  const { code, errors } = await vary("a.png", "--strength", "0.5");
  expect([code, errors.at(-1)]).toEqual([0, `wrote ${join(folder, "a.png")} (seed 5)`]);
  await vary("b.png", "--strength", "0.5");
  expect(readFileSync(join(folder, "b.png")).equals(readFileSync(join(folder, "a.png")))).toBe(true);
  expect((await vary("c.png", "--strength", "0")).errors.at(-1)).toMatch(/^model: strength is 0; it must be above 0/);
});

describe("run image-to-text", () => {
  test("prints the answer, and nothing else, on standard output", async () => {
    const { ask } = await setup();
    const { code, output, errors } = await ask();
    expect([code, errors]).toEqual([0, []]);
    expect(output).toBe("The image shows a red circle at the center, on a white background.\n");
  });

  test("answers a question, and says when it cut the answer off", async () => {
    const { ask } = await setup();
    const { output, errors } = await ask("--prompt", "How many objects are there?", "--max-tokens", "2");
    expect(output).toBe("There is\n");
    expect(errors).toEqual(["cut off after 2 tokens; see --max-tokens"]);
  });

  test("draws the words when it is given a temperature, the same for the same seed", async () => {
    const { ask } = await setup();
    const { output, errors } = await ask("--temperature", "3", "--seed", "1");
    expect(errors).toEqual(["seed 1"]);
    expect((await ask("--temperature", "3", "--seed", "1")).output).toBe(output);
    expect((await ask("--temperature", "3", "--seed", "2")).output).not.toBe(output);
    expect((await ask("--temperature", "3", "--top-p", "0.01", "--seed", "2")).output).toBe((await ask()).output);
  });

  test("refuses more tokens than the model has positions", async () => {
    const { ask } = await setup();
    const { code, errors } = await ask("--max-tokens", "5000");
    expect([code, errors]).toEqual([
      1,
      [expect.stringMatching(/^model: An answer of 5000 tokens is not possible here/)],
    ]);
  });
});
