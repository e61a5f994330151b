import { describe, expect, test } from "vitest";
import { editCases, showsScene } from "../../inference/eval/edit-cases.ts";
import { questionCases } from "../../inference/eval/question-cases.ts";
import { detectScene } from "../../inference/eval/scene-detector.ts";
import { render } from "../../inference/eval/shapes-world.ts";

describe("cases of edits", () => {
  const cases = editCases(100, 1n);

  test("at least 99 of 100 drawings of the expected scene are judged right", () => {
    const right = cases.filter(({ expected }) => showsScene(detectScene(render(expected)), expected));
    expect(right.length).toBeGreaterThanOrEqual(0.99 * cases.length);
  });

  test("a picture that was left as it is is never right", () => {
    for (const { scene, expected, instruction } of cases) {
      expect(showsScene(detectScene(render(scene)), expected), instruction).toBe(false);
    }
  });

  test("are the same for the same seed, and others for another one", () => {
    const instructions = (seed: bigint): string =>
      editCases(5, seed)
        .map(({ instruction }) => instruction)
        .join();
    expect(instructions(1n)).toBe(instructions(1n));
    expect(instructions(2n)).not.toBe(instructions(1n));
  });
});

test("answers follow from their scene", () => {
  for (const { kind, scene, question, answer } of questionCases(50, 1n)) {
    const names = scene.map(({ color, shape }) => `${color} ${shape}`);
    if (kind === "describe") for (const name of names) expect(answer).toContain(name);
    if (kind === "total") expect(answer).toBe(["There is one object.", "There are two objects."][scene.length - 1]);
    if (kind === "exists") {
      expect(answer.startsWith("Yes")).toBe(names.some((name) => question.includes(` ${name}?`)));
    }
  }
});
