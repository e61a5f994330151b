/**
 * Prompts of the six categories of GenEval (Ghosh et al., "GenEval: An object-focused framework for evaluating
 * text-to-image alignment", NeurIPS 2023), in the words of the shapes world.
 */
import { Choices } from "./choices.ts";
import { COLOR_NAMES, type Color, SHAPES, type Shape } from "./shapes-world.ts";
import { NUMBERS, pluralOf, withArticle } from "./words.ts";

export const CATEGORIES = [
  "single object",
  "two objects",
  "counting",
  "colours",
  "position",
  "colour attribution",
] as const;
export type Category = (typeof CATEGORIES)[number];

export const RELATIONS = ["left of", "right of", "above", "below"] as const;
export type Relation = (typeof RELATIONS)[number];

export interface RequiredObject {
  readonly shape: Shape;
  /** Any when undefined. */
  readonly color: Color | undefined;
}

export interface EvaluationPrompt {
  readonly category: Category;
  readonly text: string;
  readonly required: readonly RequiredObject[];
  /** Of the first required object to the second. */
  readonly relation: Relation | undefined;
}

/** Another seed gives other prompts; the training code draws its own. */
export function genevalPrompts(perCategory: number, seed: bigint): readonly EvaluationPrompt[] {
  return CATEGORIES.flatMap((category, index) =>
    Array.from({ length: perCategory }, (_, number) => promptOf(category, new Choices(seed, index, number))),
  );
}

function promptOf(category: Category, choices: Choices): EvaluationPrompt {
  const [first, second] = choices.two(SHAPES);
  const [color, other] = choices.two(COLOR_NAMES);
  const prompt = (text: string, required: readonly RequiredObject[], relation?: Relation): EvaluationPrompt => ({
    category,
    text: `a photo of ${text}`,
    required,
    relation,
  });
  switch (category) {
    case "single object":
      return prompt(withArticle(first), [any(first)]);
    case "two objects":
      return prompt(`${withArticle(first)} and ${withArticle(second)}`, [any(first), any(second)]);
    case "counting": {
      const count = 2 + choices.below(3);
      return prompt(`${NUMBERS[count]} ${pluralOf(first)}`, Array<RequiredObject>(count).fill(any(first)));
    }
    case "colours":
      return prompt(withArticle(`${color} ${first}`), [{ shape: first, color }]);
    case "position": {
      const relation = choices.one(RELATIONS);
      return prompt(`${withArticle(first)} ${relation} ${withArticle(second)}`, [any(first), any(second)], relation);
    }
    case "colour attribution":
      return prompt(`${withArticle(`${color} ${first}`)} and ${withArticle(`${other} ${second}`)}`, [
        { shape: first, color },
        { shape: second, color: other },
      ]);
  }
}

const any = (shape: Shape): RequiredObject => ({ shape, color: undefined });
