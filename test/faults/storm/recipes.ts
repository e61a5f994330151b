/** What is asked for, with seeds: whoever asks, and whatever happens, the same comes of it. */

/** As tasks name it. */
export type PictureSource = { readonly imageId: string } | { readonly uploadId: string };

export interface Recipe {
  readonly name: string;
  /** What it starts from: the tenant's picture of the first recipe, or the same bytes, sent anew each time. */
  readonly source?: "image" | "upload";
  task(image: PictureSource): object;
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

const edit = (image: PictureSource) => ({
  imageEdit: { image, instruction: "make the circle blue", steps: 12, seed: "7" },
});
const question = (image: PictureSource) => ({
  imageToText: { image, question: "What is it?", maxTokens: 120, temperature: 10, seed: "8" },
});

export const RECIPES: readonly Recipe[] = [
  ...DRAWINGS,
  { name: "edit", weight: 2, source: "image", task: edit },
  { name: "question", weight: 2, source: "image", task: question },
  { name: "edit of an upload", weight: 2, source: "upload", task: edit },
  { name: "question about an upload", weight: 2, source: "upload", task: question },
];
