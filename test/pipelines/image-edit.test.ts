import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { render } from "../../inference/eval/shapes-world.ts";
import type { RgbImage } from "../../inference/image/rgb-image.ts";
import { type ImageEditRequest, imageEdit } from "../../inference/pipelines/image-edit.ts";
import { InvalidRequestError } from "../../inference/pipelines/invalid-request.ts";
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

const edit = (change: Partial<ImageEditRequest> = {}, from?: MarState) => {
  const options = { signal: new AbortController().signal, ...(from === undefined ? {} : { from }) };
  return collect(imageEdit(tiny.pipelines, { ...EDIT, ...change }, options));
};

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

/** The picture with `margin` white columns on either side. */
function beside({ width, height, data }: RgbImage, margin: number): RgbImage {
  const wider = width + 2 * margin;
  const wide = new Uint8Array(3 * wider * height).fill(255);
  for (let y = 0; y < height; y++)
    wide.set(data.subarray(3 * y * width, 3 * (y + 1) * width), 3 * (y * wider + margin));
  return { width: wider, height, data: wide };
}
