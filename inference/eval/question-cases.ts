/** Scenes of the shapes world with a question, and its answer. */
import { Choices } from "./choices.ts";
import { randomScene } from "./random-scene.ts";
import { COLOR_NAMES, type Scene, type SceneObject, SHAPES } from "./shapes-world.ts";
import { listOf, NUMBERS, nameOf, placed, pluralOf, withArticle } from "./words.ts";

export const QUESTION_KINDS = ["describe", "count", "total", "color", "shape", "exists"] as const;
export type QuestionKind = (typeof QUESTION_KINDS)[number];

export interface QuestionCase {
  readonly kind: QuestionKind;
  readonly scene: Scene;
  readonly question: string;
  readonly answer: string;
}

/** Series of choices that neither prompts nor edits use. */
const FIRST_SERIES = 200;

export const questionCases = (perKind: number, seed: bigint): readonly QuestionCase[] =>
  QUESTION_KINDS.flatMap((kind, index) =>
    Array.from({ length: perKind }, (_, number) => {
      const choices = new Choices(seed, FIRST_SERIES + index, number);
      const scene = randomScene(choices);
      return { kind, scene, ...questionAbout(kind, scene, choices) };
    }),
  );

function questionAbout(kind: QuestionKind, scene: Scene, choices: Choices): Pick<QuestionCase, "question" | "answer"> {
  const object = scene[0] as SceneObject;
  switch (kind) {
    case "describe":
      return { question: "Describe the image in detail.", answer: describe(scene) };
    case "count": {
      const shape = choices.one([object.shape, choices.one(SHAPES)]);
      const count = scene.filter((other) => other.shape === shape).length;
      const answer = count === 1 ? `There is one ${shape}.` : `There are ${NUMBERS[count]} ${pluralOf(shape)}.`;
      return { question: `How many ${pluralOf(shape)} are there?`, answer };
    }
    case "total": {
      const answer = scene.length === 1 ? "There is one object." : `There are ${NUMBERS[scene.length]} objects.`;
      return { question: "How many objects are there?", answer };
    }
    case "color": {
      const word = choices.one(["color", "colour"]);
      return { question: `What ${word} is the ${object.shape}?`, answer: `The ${object.shape} is ${object.color}.` };
    }
    case "shape":
      return {
        question: `What shape is the ${object.color} object?`,
        answer: `The ${object.color} object is ${withArticle(object.shape)}.`,
      };
    case "exists": {
      const name = choices.one([nameOf(object), `${choices.one(COLOR_NAMES)} ${choices.one(SHAPES)}`]);
      const isThere = scene.some((other) => nameOf(other) === name);
      const answer = isThere ? `Yes, there is ${withArticle(name)}.` : `No, there is no ${name}.`;
      return { question: `Is there ${withArticle(name)}?`, answer };
    }
  }
}

/** Objects from left to right, then from top to bottom. */
function describe(scene: Scene): string {
  const objects = [...scene].sort((a, b) => a.x - b.x || a.y - b.y);
  return `The image shows ${listOf(objects.map(placed))}, on a white background.`;
}
