import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createFolder } from "../checkpoint/temporary-folder.ts";
import { openTinyModel, type TinyModel } from "../support/tiny-model.ts";
import { runCommand } from "./command.ts";

const SHORT = ["--prompt", "a red circle", "--steps", "2", "--diffusion-steps", "3"];

let model: TinyModel;
beforeAll(async () => {
  model = openTinyModel();
});
afterAll(() => model.remove());

function setup() {
  const folder = createFolder();
  return {
    folder,
    /** Draws into this file of the folder. Of a flag that is given twice the last one counts. */
    draw: (name: string, ...flags: readonly string[]) =>
      runCommand("run", "text-to-image", "--model", model.folder, "--out", join(folder, name), ...SHORT, ...flags),
    async metadataOf(name: string) {
      const { format, width, height } = await sharp(join(folder, name)).metadata();
      return { format, width, height };
    },
    pixelsOf: (name: string) => sharp(join(folder, name)),
  };
}

describe("run text-to-image writes", () => {
  test("a picture of the wanted size in the format of the file's ending", async () => {
    const { folder, draw, metadataOf } = setup();
    const { code, output, errors } = await draw("square.png", "--seed", "5");
    expect([code, output]).toEqual([0, ""]);
    expect(errors.at(-1)).toBe(`wrote ${join(folder, "square.png")} (seed 5)`);
    expect(await metadataOf("square.png")).toEqual({ format: "png", width: 96, height: 96 });
    await draw("wide.JPG", "--width", "128", "--height", "64");
    expect(await metadataOf("wide.JPG")).toEqual({ format: "jpeg", width: 128, height: 64 });
  });

  test("g x g pictures, tiled into one, of which the first is the one drawn alone", async () => {
    const { draw, metadataOf, pixelsOf } = setup();
    await draw("four.png", "--seed", "5", "--grid-size", "2");
    await draw("one.png", "--seed", "5");
    expect(await metadataOf("four.png")).toEqual({ format: "png", width: 192, height: 192 });
    const corner = await pixelsOf("four.png").extract({ left: 0, top: 0, width: 96, height: 96 }).raw().toBuffer();
    const alone = await pixelsOf("one.png").raw().toBuffer();
    // Drawn in company: fp32 sums come in another order.
    expect(corner.every((value, i) => Math.abs(value - alone[i]!) <= 2)).toBe(true);
  });

  test("the same file for the same seed, and another one for another seed", async () => {
    const { folder, draw } = setup();
    await draw("a.png", "--seed", "18446744073709551615");
    await draw("b.png", "--seed", "18446744073709551615");
    await draw("c.png", "--seed", "0");
    const [a, b, c] = ["a.png", "b.png", "c.png"].map((name) => readFileSync(join(folder, name)));
    expect(b!.equals(a!)).toBe(true);
    expect(c!.equals(a!)).toBe(false);
  });
});

test("run text-to-image takes no more steps than the picture has tokens, unless told how many", async () => {
  const { folder } = setup();
  const out = join(folder, "small.png");
  const small = ["--prompt", "a red circle", "--diffusion-steps", "3", "--width", "32", "--height", "48"];
  const draw = (...flags: readonly string[]) =>
    runCommand("run", "text-to-image", "--model", model.folder, "--out", out, ...small, ...flags);
  expect((await draw()).errors.at(-1)).toMatch(/^wrote .*small\.png/); // 6 tokens; the default is 18 steps
  expect((await draw("--steps", "7")).errors).toEqual(["model: 7 steps cannot be taken for this size: use 1 to 6."]);
});

describe("run text-to-image refuses in one line, and writes nothing:", () => {
  test.each<[string, string, readonly string[], RegExp]>([
    ["an unknown ending", "picture.gif", [], /^model: --out .*picture\.gif: the file must end in \.png, \.jpg, /],
    ["a size between two patches", "p.png", ["--width", "100"], /^model: 100 x 96 pixels cannot be drawn: .* of 16\.$/],
    [
      "no step",
      "p.png",
      ["--steps", "0"],
      /'--steps <n>' argument '0' is invalid\. Give a whole number of at least 1\.$/,
    ],
    ["bad diffusion steps", "p.png", ["--diffusion-steps", "many"], /^model: "many" is no number of diffusion steps\./],
    [
      "an unknown speed",
      "p.png",
      ["--speed", "warp"],
      /argument 'warp' is invalid\. Allowed choices are exact, fast, faster\.$/,
    ],
    ["a seed of 65 bits", "p.png", ["--seed", "18446744073709551616"], /invalid\. Give a whole number below 2\^64\.$/],
    ["no prompt", "p.png", ["--prompt", ""], /^model: The prompt is empty\. Say what to draw\.$/],
    [
      "a picture larger than the model can draw",
      "p.png",
      ["--width", "100000", "--height", "100000"],
      /^model: 100000 x 100000 pixels are too large: this model draws up to \d+ patches of 16 x 16 pixels, for example 496 x 496\.$/,
    ],
    [
      "a grid beyond reason",
      "p.png",
      ["--grid-size", "9"],
      /argument '9' is invalid\. Give a whole number from 1 to 8\.$/,
    ],
    [
      "threads beyond reason",
      "p.png",
      ["--threads", "1000"],
      /argument '1000' is invalid\. Give a whole number from 1 to 256\.$/,
    ],
    ["a negative temperature", "p.png", ["--temperature", "-1"], /^model: temperature is -1; .* from 0 to 10\.$/],
    [
      "a negative guidance scale",
      "p.png",
      ["--guidance-scale", "-1"],
      /^model: guidanceScale is -1; .* from 0 to 100\.$/,
    ],
    [
      "a folder that is missing",
      "no/p.png",
      [],
      /^model: --out .*no\/p\.png: there is no folder .*no\. Make it, or name another one\.$/,
    ],
  ])("%s", async (_, name, flags, message) => {
    const { folder, draw } = setup();
    const { code, output, errors } = await draw(name, ...flags);
    expect([code, output]).toEqual([1, ""]);
    expect(errors).toEqual([expect.stringMatching(message)]);
    expect(readdirSync(folder)).toEqual([]);
  });

  test("a file that cannot be made", async () => {
    // Before the model is looked for: there is none.
    const { errors } = await runCommand("run", "text-to-image", "--model", "none", "--out", "/proc/x.png", ...SHORT);
    expect(errors).toEqual([
      expect.stringMatching(
        /^model: --out \/proc\/x\.png: cannot be written \(E[A-Z]+\)\. Name a file that you may write\.$/,
      ),
    ]);
  });

  test("a folder in place of the file", async () => {
    const { folder, draw } = setup();
    mkdirSync(join(folder, "pictures.png"));
    const { code, errors } = await draw("pictures.png");
    expect(code).toBe(1);
    expect(errors).toEqual([`model: --out ${join(folder, "pictures.png")}: is a folder. Name a file in it.`]);
  });

  test("settings, without touching a link to a file that is not there", async () => {
    const { folder, draw } = setup();
    symlinkSync("elsewhere.png", join(folder, "p.png"));
    expect((await draw("p.png", "--temperature", "-1")).code).toBe(1);
    expect(readdirSync(folder)).toEqual(["p.png"]);
    expect(readlinkSync(join(folder, "p.png"))).toBe("elsewhere.png");
  });

  test("settings, without touching the file that is there", async () => {
    const { folder, draw } = setup();
    writeFileSync(join(folder, "p.png"), "mine");
    expect((await draw("p.png", "--temperature", "-1")).code).toBe(1);
    expect(readFileSync(join(folder, "p.png"), "utf8")).toBe("mine");
  });

  test("a model folder that is missing or holds no model", async () => {
    const { folder } = setup();
    mkdirSync(join(folder, "empty"));
    const out = join(folder, "p.png");
    const draw = (name: string) =>
      runCommand("run", "text-to-image", "--model", join(folder, name), "--out", out, ...SHORT);
    expect((await draw("nowhere")).errors).toEqual([
      `model: There is no model folder at ${join(folder, "nowhere")}. Build it first: npm run atelier -- model build <checkpoint folder> --out ${join(folder, "nowhere")}`,
    ]);
    const { code, errors } = await draw("empty");
    expect(code).toBe(1);
    expect(errors).toEqual([expect.stringMatching(/^model: .*empty is not a built model: it has no manifest\.json\./)]);
    expect(existsSync(out)).toBe(false);
  });
});
