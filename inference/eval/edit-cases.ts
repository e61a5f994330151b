/** Scenes of the shapes world with an instruction, and what they are to become. */
import { Choices } from "./choices.ts";
import { freePlace, randomScene } from "./random-scene.ts";
import type { DetectedScene } from "./scene-detector.ts";
import { COLOR_NAMES, type Scene, type SceneObject, SHAPES } from "./shapes-world.ts";
import { nameOf, placed, withArticle } from "./words.ts";

export const EDIT_KINDS = ["recolor", "replace", "remove", "add"] as const;
export type EditKind = (typeof EDIT_KINDS)[number];

export interface EditCase {
  readonly kind: EditKind;
  readonly scene: Scene;
  readonly instruction: string;
  readonly expected: Scene;
}

/** Series of choices that no prompts use. */
const FIRST_SERIES = 100;
/** Pixels by which an object may lie beside its place. */
const TOLERANCE = 9;

export const editCases = (perKind: number, seed: bigint): readonly EditCase[] =>
  EDIT_KINDS.flatMap((kind, index) =>
    Array.from({ length: perKind }, (_, number) => caseOf(kind, new Choices(seed, FIRST_SERIES + index, number))),
  );

function caseOf(kind: EditKind, choices: Choices): EditCase {
  const scene = randomScene(choices);
  const [target, ...others] = scene as readonly [SceneObject, ...SceneObject[]];
  const name = choices.one([target.shape, nameOf(target)]);
  switch (kind) {
    case "recolor": {
      const color = choices.one(COLOR_NAMES.filter((other) => other !== target.color));
      const instruction = choices.one([
        `make the ${name} ${color}`,
        `change the ${name} to ${color}`,
        `paint the ${name} ${color}`,
      ]);
      return { kind, scene, instruction, expected: [{ ...target, color }, ...others] };
    }
    case "replace": {
      const shape = choices.one(SHAPES.filter((other) => other !== target.shape));
      const instruction = choices.one([
        `replace the ${name} with ${withArticle(shape)}`,
        `turn the ${name} into ${withArticle(shape)}`,
      ]);
      return { kind, scene, instruction, expected: [{ ...target, shape }, ...others] };
    }
    case "remove": {
      const pair = [...scene, ...(others.length === 0 ? [objectBeside(scene, choices)] : [])];
      const instruction = choices.one([`remove the ${name}`, `delete the ${name}`]);
      return { kind, scene: pair, instruction, expected: pair.slice(1) };
    }
    case "add": {
      const object = objectBeside(scene, choices);
      return { kind, scene, instruction: `add ${placed(object)}`, expected: [...scene, object] };
    }
  }
}

/** One more object, of a shape that the scene does not have. */
function objectBeside(scene: Scene, choices: Choices): SceneObject {
  const shape = choices.one(SHAPES.filter((other) => !scene.some((object) => object.shape === other)));
  return { shape, color: choices.one(COLOR_NAMES), ...freePlace(scene, choices) };
}

/** Every object of the scene is there, in its place, and no other. */
export function showsScene({ objects }: DetectedScene, scene: Scene): boolean {
  if (objects.length !== scene.length) return false;
  return scene.every((object) =>
    objects.some(
      ({ shape, color, x, y }) =>
        shape === object.shape &&
        color === object.color &&
        Math.max(Math.abs(x - object.x), Math.abs(y - object.y)) <= TOLERANCE,
    ),
  );
}
