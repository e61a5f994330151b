import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { GenerationState } from "../../src/generated/prisma/enums.ts";
import { isTerminal, mayFollow } from "../../src/generation/generation.state.ts";

test("terminal states are final, and every other state leads somewhere", () => {
  for (const from of Object.values(GenerationState)) {
    const next = Object.values(GenerationState).filter((to) => mayFollow(from, to));
    expect(next.length === 0, from).toBe(isTerminal(from));
  }
});

test("the drawing in docs/state-machine.md has exactly the transitions of the code", () => {
  const drawing = readFileSync("docs/state-machine.md", "utf8");
  const drawn = [...drawing.matchAll(/^\s*([A-Z_]+) --> ([A-Z_]+)/gm)].map(([, from, to]) => `${from} --> ${to}`);
  const coded = Object.values(GenerationState).flatMap((from) =>
    Object.values(GenerationState)
      .filter((to) => mayFollow(from, to))
      .map((to) => `${from} --> ${to}`),
  );
  expect(drawn.sort()).toEqual(coded.sort());
});
