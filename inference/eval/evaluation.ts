/** Draws prompts and counts how often the pictures show what was asked for. */
import type { Pipelines } from "../pipelines/pipelines.ts";
import { type TextToImageRequest, textToImage } from "../pipelines/text-to-image.ts";
import { CATEGORIES, type Category, type EvaluationPrompt } from "./geneval-prompts.ts";
import { detectScene } from "./scene-detector.ts";
import { judge, type Verdict } from "./verdict.ts";

export interface Tally {
  readonly pictures: number;
  /** As in GenEval: what is asked for is there; counts are exact. */
  readonly right: number;
  /** Right, with nothing else in the picture. */
  readonly pure: number;
}

export interface EvaluationReport {
  readonly categories: Readonly<Record<Category, Tally>>;
  /** Mean of the categories' shares of right pictures, as GenEval has it. */
  readonly overall: number;
  /** Prompts with a wrong picture, and how many of theirs were wrong. */
  readonly failures: readonly { readonly text: string; readonly wrong: number }[];
}

export interface EvaluationOptions {
  readonly prompts: readonly EvaluationPrompt[];
  /** Of each prompt, with noise streams of their own. */
  readonly pictures: number;
  readonly seed: bigint;
  readonly onPrompt?: (done: number) => void;
}

/** With the preset's default settings. */
export async function evaluate(pipelines: Pipelines, options: EvaluationOptions): Promise<EvaluationReport> {
  const judged: { prompt: EvaluationPrompt; verdicts: readonly Verdict[] }[] = [];
  for (const prompt of options.prompts) {
    judged.push({ prompt, verdicts: await draw(pipelines, prompt, options) });
    options.onPrompt?.(judged.length);
  }
  const tallyOf = (category: Category): Tally => {
    const verdicts = judged.filter(({ prompt }) => prompt.category === category).flatMap(({ verdicts }) => verdicts);
    return {
      pictures: verdicts.length,
      right: verdicts.filter(({ isRight }) => isRight).length,
      pure: verdicts.filter(({ isPure }) => isPure).length,
    };
  };
  const categories = Object.fromEntries(CATEGORIES.map((name) => [name, tallyOf(name)])) as Record<Category, Tally>;
  const shares = Object.values(categories).map(({ right, pictures }) => right / pictures);
  return {
    categories,
    overall: shares.reduce((sum, share) => sum + share, 0) / shares.length,
    failures: judged
      .map(({ prompt, verdicts }) => ({ text: prompt.text, wrong: verdicts.filter(({ isRight }) => !isRight).length }))
      .filter(({ wrong }) => wrong > 0),
  };
}

/** A table for people. */
export function formatReport({ categories, overall, failures }: EvaluationReport): string {
  const share = (part: number, all: number): string => `${part}/${all} (${((100 * part) / all).toFixed(0)} %)`;
  const rows = Object.entries(categories).map(
    ([name, { pictures, right, pure }]) =>
      `${name.padEnd(20)}${share(right, pictures).padEnd(18)}nothing else: ${share(pure, pictures)}`,
  );
  const worst = failures.toSorted((a, b) => b.wrong - a.wrong).slice(0, 20);
  return [
    ...rows,
    `overall             ${overall.toFixed(3)}`,
    ...worst.map(({ text, wrong }) => `  ${wrong} wrong: ${text}`),
  ].join("\n");
}

async function draw(
  pipelines: Pipelines,
  prompt: EvaluationPrompt,
  { pictures, seed }: EvaluationOptions,
): Promise<readonly Verdict[]> {
  const { defaults, prompt: texts } = pipelines.model.manifest;
  const { size, ...settings } = defaults;
  const request: TextToImageRequest = {
    ...settings,
    prompt: prompt.text,
    unconditionalPrompt: texts.textToImageUnconditional,
    width: size,
    height: size,
    count: pictures,
    guidanceSchedule: "constant",
    seed,
  };
  const verdicts: Verdict[] = [];
  for await (const event of textToImage(pipelines, request, { signal: new AbortController().signal })) {
    if (event.kind === "image") verdicts.push(judge(prompt, detectScene(event.image)));
  }
  return verdicts;
}
