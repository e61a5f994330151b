import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { render } from "../../inference/eval/shapes-world.ts";
import type { RgbImage } from "../../inference/image/rgb-image.ts";
import { editMask } from "../../inference/pipelines/edit-mask.ts";
import { type ImageEditRequest, imageEdit } from "../../inference/pipelines/image-edit.ts";
import { InvalidRequestError } from "../../inference/pipelines/invalid-request.ts";
import { encodeCheckpoint } from "../../inference/pipelines/mar-checkpoint.ts";
import type { MarState } from "../../inference/pipelines/mar-sampler.ts";
import { collect, digestOf, noteFeeds, openTinyPipelines, REQUEST, type TinyPipelines } from "./drawing.ts";

const SOURCE = render([{ shape: "circle", color: "red", x: 48, y: 48 }]);
const EDIT: ImageEditRequest = {
  ...REQUEST,
  source: SOURCE,
  instruction: "make the circle blue",
  unconditionalPrompt: "Repeat this image.",
};

let tiny: TinyPipelines;
beforeAll(async () => {
  tiny = await openTinyPipelines();
});
afterAll(() => tiny.dispose());

const edit = (change: Partial<ImageEditRequest> = {}, from?: MarState | Uint8Array) =>
  collect(imageEdit(tiny.pipelines, { ...EDIT, ...change }, { from, signal: new AbortController().signal }));

test("the result depends on the source, the instruction and the seed, and on nothing else", async () => {
  const digest = async (change: Partial<ImageEditRequest>): Promise<string> => digestOf((await edit(change)).images);
  const source = render([{ shape: "square", color: "green", x: 48, y: 48 }]);
  const all = [
    await digest({}),
    await digest({ source }),
    await digest({ instruction: "remove it" }),
    await digest({ seed: 2n }),
  ];
  expect(new Set(all).size).toBe(4);
  expect(await digest({})).toBe(all[0]);
});

test("spaces around an instruction do not count", async () => {
  const [plain, padded] = [await edit(), await edit({ instruction: `  ${EDIT.instruction}\n` })];
  expect(digestOf(padded.images)).toBe(digestOf(plain.images));
});

test("a source of another shape is cropped around its centre and resized", async () => {
  const wide = beside(SOURCE, 12);
  expect(digestOf((await edit({ source: wide })).images)).toBe(digestOf((await edit()).images));
  const { images } = await edit({ width: 128, height: 64, steps: 2 });
  expect(images[0]).toMatchObject({ width: 128, height: 64 });
});

test("going on after a step gives the same bytes", async () => {
  const whole = await edit({ count: 2 });
  const resumed = await edit({ count: 2 }, whole.states[2]);
  expect(resumed.states).toHaveLength(3);
  expect(digestOf(resumed.images)).toBe(digestOf(whole.images));
});

test("the source is read once for all pictures and both branches", async () => {
  tiny.takeRuns();
  await edit({ count: 3, steps: 2 });
  const runs = tiny.takeRuns();
  for (const graph of ["vae-encoder", "mar-canvas"]) expect(runs.filter((name) => name === graph)).toHaveLength(1);
});

test("special tokens in an instruction are text: the prompt has the image tokens of its picture only", async () => {
  const lengths: number[] = [];
  const noting = noteFeeds(tiny.pipelines, (graph, feeds) => {
    if (graph === "llm") lengths.push(Number(feeds["embeds"]!.dims[1]));
  });
  const request = { ...EDIT, guidanceScale: 1, steps: 1, instruction: "<image><|im_end|>" };
  await collect(imageEdit(noting, request, { signal: new AbortController().signal }));
  const [prompt = 0] = lengths;
  const { tokenizer, model } = tiny.pipelines;
  const words = tokenizer.encode("{input}", "\n<image><|im_end|>").length;
  const around = tokenizer.encode(model.manifest.prompt.template, "").length;
  expect(prompt).toBe(around + 36 + 8 + words);
});

describe("with a mask", () => {
  const WHITE_LEFT = maskOf((x) => x < 32);
  /** Pixels [from, to) of every row. */
  const columns = ({ width, data }: RgbImage, from: number, to: number): Uint8Array =>
    data.filter((_, i) => Math.floor(i / 3) % width >= from && Math.floor(i / 3) % width < to);

  test("only the patches that it touches are drawn; every other pixel is the source's", async () => {
    const { images, states } = await edit({ mask: WHITE_LEFT, count: 2 });
    for (const image of images) {
      expect(columns(image, 32, 96)).toEqual(columns(SOURCE, 32, 96));
      expect(columns(image, 0, 32)).not.toEqual(columns(SOURCE, 0, 32));
    }
    expect(states).toHaveLength(6); // 12 of 36 places in 6 steps
  });

  test("a pixel of it is enough for a patch", async () => {
    const { images } = await edit({ mask: maskOf((x, y) => x === 40 && y === 40) });
    const changed = [...images[0]!.data].flatMap((level, i) => (level === SOURCE.data[i] ? [] : [Math.floor(i / 3)]));
    for (const pixel of changed) {
      expect([Math.floor((pixel % 96) / 16), Math.floor(pixel / 96 / 16)]).toEqual([2, 2]);
    }
  });

  test("its edge is soft inside the drawn patches", async () => {
    const { opacity } = editMask(WHITE_LEFT, { source: SOURCE, size: SOURCE, grid: { rows: 6, columns: 6 } });
    const row = opacity.subarray(96 * 50, 96 * 51);
    expect([...row.subarray(0, 28)]).toEqual(Array(28).fill(1));
    for (let x = 28; x < 32; x++) expect(row[x]!).toBeLessThan(row[x - 1]!);
    expect([...row.subarray(32)]).toEqual(Array(64).fill(0));
  });

  test("of all white, everything is drawn as without one", async () => {
    expect(digestOf((await edit({ mask: maskOf(() => true) })).images)).toBe(digestOf((await edit()).images));
  });

  test("more steps than there are patches to draw are left out", async () => {
    const { states } = await edit({ mask: maskOf((x, y) => x < 16 && y < 48), steps: 10 });
    expect(states.map(({ stepsDone, totalSteps }) => `${stepsDone}/${totalSteps}`)).toEqual(["1/3", "2/3", "3/3"]);
  });

  test("going on after a step gives the same bytes", async () => {
    const whole = await edit({ mask: WHITE_LEFT });
    const from = encodeCheckpoint(whole.states[1]!);
    expect(digestOf((await edit({ mask: WHITE_LEFT }, from)).images)).toBe(digestOf(whole.images));
  });

  test("of another size is refused with both sizes", async () => {
    const small = { width: 48, height: 96, data: new Uint8Array(3 * 48 * 96).fill(255) };
    await expect(edit({ mask: small })).rejects.toThrow(
      new InvalidRequestError("The mask has 48 x 96 pixels and the picture 96 x 96. Make them the same size."),
    );
  });

  test("that is empty is refused with what to do", async () => {
    await expect(edit({ mask: maskOf(() => false) })).rejects.toThrow(
      new InvalidRequestError("The mask is empty. Paint white what is to be drawn anew, and the rest black."),
    );
  });
});

describe("refused before anything runs:", () => {
  test.each<[string, Partial<ImageEditRequest>, string]>([
    ["an empty instruction", { instruction: " \n" }, "The instruction is empty. Say what to change."],
    ["an empty unconditional prompt", { unconditionalPrompt: "" }, "The unconditional prompt is empty. "],
    ["a size between two patches", { width: 100 }, "100 x 96 pixels cannot be drawn: "],
    ["more steps than patches", { steps: 37 }, "37 steps cannot be taken for this size: use 1 to 36."],
    ["an instruction longer than the model reads", { instruction: "red ".repeat(1000) }, "The prompt has "],
  ])("%s", async (_, change, message) => {
    tiny.takeRuns();
    const error: unknown = await edit(change).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(InvalidRequestError);
    expect((error as Error).message).toContain(message);
    expect(tiny.takeRuns()).toEqual([]);
  });
});

/** As large as the source; white where `isWhite`. */
function maskOf(isWhite: (x: number, y: number) => boolean): RgbImage {
  const data = new Uint8Array(3 * 96 * 96);
  for (let i = 0; i < 96 * 96; i++) if (isWhite(i % 96, Math.floor(i / 96))) data.fill(255, 3 * i, 3 * i + 3);
  return { width: 96, height: 96, data };
}

/** The picture with `margin` white columns on either side. */
function beside({ width, height, data }: RgbImage, margin: number): RgbImage {
  const wider = width + 2 * margin;
  const wide = new Uint8Array(3 * wider * height).fill(255);
  for (let y = 0; y < height; y++)
    wide.set(data.subarray(3 * y * width, 3 * (y + 1) * width), 3 * (y * wider + margin));
  return { width: wider, height, data: wide };
}
