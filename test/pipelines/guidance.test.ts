import { afterAll, beforeAll, expect, test } from "vitest";
import { digestOf, draw, noteFeeds, openTinyPipelines, REQUEST, type TinyPipelines } from "./drawing.ts";

let tiny: TinyPipelines;
beforeAll(async () => {
  tiny = await openTinyPipelines();
});
afterAll(() => tiny.dispose());

/** A pipeline that notes the rows that each graph is given. */
function setup() {
  const rows: { graph: string; rows: number }[] = [];
  const pipelines = noteFeeds(tiny.pipelines, (graph, feeds) => {
    const leading = feeds["embeds"] ?? feeds["z"] ?? feeds["hidden"];
    if (leading !== undefined) rows.push({ graph, rows: leading.dims[0]! });
  });
  const rowsOf = (graph: string): Set<number> =>
    new Set(rows.filter((each) => each.graph === graph).map((each) => each.rows));
  return { pipelines, rows, rowsOf };
}

test("guidance runs a conditional and an unconditional row for every picture", async () => {
  const { pipelines, rowsOf } = setup();
  await draw(pipelines, { ...REQUEST, count: 3, steps: 2 });
  // One row each for reading the two prompts. In the first step one for each picture and one for all of them, then two
  // for each picture.
  expect(rowsOf("llm")).toEqual(new Set([1, 3, 6]));
  expect(rowsOf("mar-decoder")).toEqual(new Set([3, 1, 6]));
  expect(rowsOf("diffusion-condition")).toEqual(new Set([2 * 3 * 11, 2 * 3 * 25]));
});

test("a guidance scale of 1 runs without unconditional rows", async () => {
  const { pipelines, rows, rowsOf } = setup();
  await draw(pipelines, { ...REQUEST, count: 3, steps: 1, guidanceScale: 1 });
  expect(rowsOf("llm")).toEqual(new Set([1, 3]));
  expect(rows.filter((each) => each.graph === "llm" && each.rows === 1)).toHaveLength(1);
  expect(rowsOf("mar-decoder")).toEqual(new Set([3]));
  expect(rowsOf("diffusion-condition")).toEqual(new Set([3 * 36]));
});

test("a guidance scale of 1 does not read the unconditional prompt", async () => {
  const request = { ...REQUEST, guidanceScale: 1 };
  const { images } = await draw(tiny.pipelines, request);
  const other = await draw(tiny.pipelines, { ...request, unconditionalPrompt: "something else" });
  expect(digestOf(other.images)).toBe(digestOf(images));
});

test("the unconditional prompt matters with guidance", async () => {
  const { images } = await draw(tiny.pipelines, REQUEST);
  const other = await draw(tiny.pipelines, { ...REQUEST, unconditionalPrompt: "a blue star" });
  expect(digestOf(other.images)).not.toBe(digestOf(images));
});
