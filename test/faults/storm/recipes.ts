/** What is asked for, with seeds: whoever asks, and whatever happens, the same comes of it. */

export interface Recipe {
  readonly name: string;
  /** @param imageId the tenant's picture of the first recipe */
  task(imageId: string): object;
  /** Relative to the others. */
  readonly weight: number;
}

const drawing = (name: string, weight: number, textToImage: object): Recipe => ({
  name,
  weight,
  task: () => ({ textToImage }),
});

/** The picture that edits and questions start from. */
export const SOURCE = drawing("source", 3, { prompt: "a red circle", steps: 6, seed: "1" });

export const DRAWINGS: readonly Recipe[] = [
  SOURCE,
  drawing("short", 4, { prompt: "a blue square", steps: 3, seed: "2" }),
  drawing("middling", 3, { prompt: "two green stars", steps: 12, seed: "3" }),
  drawing("long", 2, { prompt: "a yellow triangle at the left", steps: 36, seed: "4" }),
  drawing("several", 2, { prompt: "three white circles", steps: 18, count: 3, seed: "5" }),
  drawing("longest", 2, { prompt: "a red star and a blue circle", steps: 36, count: 4, seed: "6" }),
];

export const RECIPES: readonly Recipe[] = [
  ...DRAWINGS,
  {
    name: "edit",
    weight: 2,
    task: (imageId) => ({
      imageEdit: { image: { imageId }, instruction: "make the circle blue", steps: 12, seed: "7" },
    }),
  },
  {
    name: "question",
    weight: 2,
    task: (imageId) => ({
      imageToText: { image: { imageId }, question: "What is it?", maxTokens: 120, temperature: 10, seed: "8" },
    }),
  },
];
