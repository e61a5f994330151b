import { describe, expect, test } from "vitest";
import { goldenConfigurations } from "../support/golden.ts";
import { buildGraphs } from "./model-graphs.ts";

describe.each(goldenConfigurations())("the weights of $name", ({ folder }) => {
  /** Every reference of a graph into the weights file. */
  function setup() {
    const { graphs, weightsBytes } = buildGraphs(folder);
    const places = Object.entries(graphs).flatMap(([graph, { initializers }]) =>
      initializers.flatMap(({ name, dims, content }) =>
        content instanceof Uint8Array ? [] : [{ graph, name, dims, ...content }],
      ),
    );
    return { places, weightsBytes };
  }

  test("lie at multiples of 64 bytes, those of a page and more at page borders", () => {
    const { places } = setup();
    expect(places.length).toBeGreaterThan(20);
    for (const { name, offset, length } of places) {
      expect(offset % (length >= 4096 ? 4096 : 64), name).toBe(0);
    }
  });

  test("have the size of their shape, do not overlap and end where the file ends", () => {
    const { places, weightsBytes } = setup();
    const distinct = new Map(places.map((place) => [place.offset, place]));
    let end = 0;
    for (const { name, dims, offset, length } of [...distinct.values()].sort((a, b) => a.offset - b.offset)) {
      expect(length, name).toBe(4 * dims.reduce((product, dim) => product * dim, 1));
      expect(offset, name).toBeGreaterThanOrEqual(end);
      end = offset + length;
    }
    expect(end).toBe(weightsBytes);
  });

  test("belong to one graph each: every session makes its own packed copy; one layer has two sessions", () => {
    const { places } = setup();
    const shared = places.filter(({ offset }, i) => places.some((other, j) => i !== j && other.offset === offset));
    expect(new Set(shared.map(({ name }) => name.replace(/\.(weight\^T|bias)$/, "")))).toEqual(
      new Set(["mar.decoder_embed"]),
    );
    expect(new Set(shared.map(({ graph }) => graph))).toEqual(new Set(["mar-canvas", "mar-decoder"]));
  });
});
