/** The words of the shapes world. */
import { PLACES, type SceneObject, type Shape } from "./shapes-world.ts";

export const NUMBERS = ["no", "one", "two", "three", "four"] as const;

export const withArticle = (noun: string): string => `${/^[aeiou]/.test(noun) ? "an" : "a"} ${noun}`;
export const pluralOf = (shape: Shape): string => (shape.endsWith("s") ? `${shape}es` : `${shape}s`);
export const nameOf = ({ color, shape }: SceneObject): string => `${color} ${shape}`;

/** "the top left", "the center", … */
function placeOf({ x, y }: SceneObject): string {
  const [low, , high] = PLACES;
  const words = [y === low ? "top" : y === high ? "bottom" : "", x === low ? "left" : x === high ? "right" : ""];
  return `the ${words.filter((word) => word !== "").join(" ") || "center"}`;
}

/** "a red circle at the top left" */
export const placed = (object: SceneObject): string => `${withArticle(nameOf(object))} at ${placeOf(object)}`;

/** "a, b and c" */
export const listOf = (parts: readonly string[]): string =>
  parts.length < 2 ? parts.join("") : `${parts.slice(0, -1).join(", ")} and ${parts.at(-1)}`;
