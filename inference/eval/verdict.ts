import type { EvaluationPrompt, Relation } from "./geneval-prompts.ts";
import type { DetectedObject, DetectedScene } from "./scene-detector.ts";

/** Pixels by which one object must be beside another one. */
const MIN_OFFSET = 4;

export interface Verdict {
  /** As in GenEval: what is asked for is there; counts are exact. */
  readonly isRight: boolean;
  /** And nothing else is. */
  readonly isPure: boolean;
}

/** Whether a picture shows what a prompt asks for. */
export function judge(prompt: EvaluationPrompt, { objects, specks }: DetectedScene): Verdict {
  const rest = [...objects];
  const found: DetectedObject[] = [];
  for (const { shape, color } of prompt.required) {
    const index = rest.findIndex((object) => object.shape === shape && (color === undefined || object.color === color));
    if (index < 0) return { isRight: false, isPure: false };
    found.push(...rest.splice(index, 1));
  }
  const [first, second] = found;
  const isPlaced =
    prompt.relation === undefined || first === undefined || second === undefined
      ? true
      : holds(prompt.relation, first, second);
  const isCounted = prompt.category !== "counting" || !rest.some(({ shape }) => shape === prompt.required[0]?.shape);
  const isRight = isPlaced && isCounted;
  return { isRight, isPure: isRight && rest.length === 0 && specks === 0 };
}

function holds(relation: Relation, a: DetectedObject, b: DetectedObject): boolean {
  switch (relation) {
    case "left of":
      return b.x - a.x > MIN_OFFSET;
    case "right of":
      return a.x - b.x > MIN_OFFSET;
    case "above":
      return b.y - a.y > MIN_OFFSET;
    case "below":
      return a.y - b.y > MIN_OFFSET;
  }
}
