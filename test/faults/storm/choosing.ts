interface Weighted {
  readonly weight: number;
}

/** @param place in [0, 1): each choice has a part of it as large as its weight */
export function choose<T extends Weighted>(choices: readonly T[], place: number): T {
  let left = place * choices.reduce((sum, { weight }) => sum + weight, 0);
  for (const choice of choices) {
    left -= choice.weight;
    if (left < 0) return choice;
  }
  throw new Error("there is no choice");
}
