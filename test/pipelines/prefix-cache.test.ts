import { afterAll, beforeAll, expect, test } from "vitest";
import { render } from "../../inference/eval/shapes-world.ts";
import { imageEdit } from "../../inference/pipelines/image-edit.ts";
import { PrefixCache } from "../../inference/pipelines/prefix-cache.ts";
import { collect, digestOf, draw, noteFeeds, openTinyPipelines, REQUEST, type TinyPipelines } from "./drawing.ts";

let tiny: TinyPipelines;
beforeAll(async () => {
  tiny = await openTinyPipelines();
});
afterAll(() => tiny.dispose());

const promptsRead = (): number => tiny.takeRuns().filter((graph) => graph === "llm").length;

test("a prompt is read once, until others have taken its room", async () => {
  const { model } = tiny.pipelines;
  const bytesOfTwoTokens = 2 * (await new PrefixCache(model).read([1])).keys.length * 2 * 2 * 32 * 4;
  const cache = new PrefixCache(model, bytesOfTwoTokens);
  tiny.takeRuns();
  const first = await cache.read([1]);
  await cache.read([2]);
  expect(await cache.read([1])).toBe(first);
  expect(promptsRead()).toBe(2);
  await cache.read([3]); // in the place of 2, which was not used for longer
  expect(await cache.read([1])).toBe(first);
  expect(promptsRead()).toBe(1);
  await cache.read([2]);
  expect(promptsRead()).toBe(1);
  expect(cache.takeUse()).toEqual({ read: 4, known: 2 });
  await Promise.all([cache.read([4]), cache.read([4])]);
  expect(cache.takeUse()).toEqual({ read: 1, known: 1 });
  expect(cache.takeUse()).toEqual({ read: 0, known: 0 });
});

test("a prompt that does not fit is read every time", async () => {
  const cache = new PrefixCache(tiny.pipelines.model, 0);
  tiny.takeRuns();
  await cache.read([1]);
  await cache.read([1]);
  expect(promptsRead()).toBe(2);
});

test("a drawing whose prompts were read before has the same bytes, and fewer runs", async () => {
  const { model, tokenizer } = tiny.pipelines;
  const cold = { model, tokenizer, prefixes: new PrefixCache(model) };
  tiny.takeRuns();
  const first = digestOf((await draw(cold, REQUEST)).images);
  const runs = tiny.takeRuns();
  expect(digestOf((await draw(cold, REQUEST)).images)).toBe(first);
  const count = (graph: string, among: readonly string[]) => among.filter((each) => each === graph).length;
  const again = tiny.takeRuns();
  // The prompts, and what the unconditional one leads to while nothing is known.
  expect(count("llm", again)).toBe(count("llm", runs) - 3);
  expect([count("mar-decoder", runs), count("mar-decoder", again)]).toEqual([REQUEST.steps + 1, REQUEST.steps]);
});

test("an edit with guidance reads its picture once for both branches", async () => {
  let tokens = 0;
  const noting = noteFeeds(tiny.pipelines, (graph, feeds) => {
    if (graph === "llm" && !("canvas" in feeds)) tokens += Number(feeds["embeds"]!.dims[1]);
  });
  const source = render([{ shape: "circle", color: "red", x: 48, y: 48 }]);
  const request = { ...REQUEST, source, instruction: "make it blue", unconditionalPrompt: "Repeat this image." };
  const signal = new AbortController().signal;
  await collect(imageEdit(noting, { ...request, steps: 1 }, { signal }));
  const step = 8; // the buffer tokens of the only step
  const { tokenizer, model } = tiny.pipelines;
  const lengths = ["\nmake it blue", "\nRepeat this image."].map((text) => tokenizer.encode("{input}", text).length);
  const around = tokenizer.encode(model.manifest.prompt.template, "").length;
  const separate = 2 * (36 + 8 + around) + lengths[0]! + lengths[1]! + step;
  expect(tokens).toBeLessThanOrEqual(separate - 36 - 8);
});
