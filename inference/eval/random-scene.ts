import type { Choices } from "./choices.ts";
import { COLOR_NAMES, PLACES, type Scene, type SceneObject, SHAPES } from "./shapes-world.ts";

const BOARD = PLACES.flatMap((y) => PLACES.map((x) => ({ x, y })));

/** One or two objects that differ in shape and colour, on places of their own. */
export function randomScene(choices: Choices): Scene {
  const shapes = choices.two(SHAPES);
  const colors = choices.two(COLOR_NAMES);
  const places = choices.two(BOARD);
  const objects = [0, 1].map((i) => ({ shape: shapes[i], color: colors[i], ...places[i] }) as SceneObject);
  return objects.slice(0, 1 + choices.below(2));
}

/** A place of the board where nothing is. */
export const freePlace = (scene: Scene, choices: Choices): (typeof BOARD)[number] =>
  choices.one(BOARD.filter((place) => !scene.some(({ x, y }) => x === place.x && y === place.y)));
