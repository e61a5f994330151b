/** Runs the tasks of the shapes world and counts how often the results are what was asked for. */

import type { DrawingEvent, DrawingSettings } from "../pipelines/drawing.ts";
import { imageEdit } from "../pipelines/image-edit.ts";
import { imageToText } from "../pipelines/image-to-text.ts";
import type { Pipelines } from "../pipelines/pipelines.ts";
import { textToImage } from "../pipelines/text-to-image.ts";
import type { Speed } from "../sampling/speed.ts";
import { type EditCase, showsScene } from "./edit-cases.ts";
import type { EvaluationPrompt } from "./geneval-prompts.ts";
import type { QuestionCase } from "./question-cases.ts";
import { type DetectedScene, detectScene } from "./scene-detector.ts";
import { render } from "./shapes-world.ts";
import { judge, type Verdict } from "./verdict.ts";

/** One task and what came of it, at the preset's default settings. */
export interface Outcome {
  /** What it counts for: a category of prompts, a kind of edits or of questions. */
  readonly group: string;
  readonly text: string;
  /** One for each picture or answer. */
  readonly verdicts: readonly Verdict[];
  /** Answers only: what was said instead. */
  readonly said?: string;
}

export interface EvaluationOptions {
  /** Of each prompt, with noise streams of their own. */
  readonly pictures: number;
  readonly seed: bigint;
  /** Of pictures. */
  readonly speed: Speed;
}

export async function drawPrompt(
  pipelines: Pipelines,
  prompt: EvaluationPrompt,
  options: EvaluationOptions,
): Promise<Outcome> {
  const { textToImageUnconditional } = pipelines.model.manifest.prompt;
  const request = {
    ...settingsOf(pipelines, options),
    prompt: prompt.text,
    unconditionalPrompt: textToImageUnconditional,
  };
  const scenes = await scenesOf(textToImage(pipelines, request, { signal: NEVER }));
  return { group: prompt.category, text: prompt.text, verdicts: scenes.map((scene) => judge(prompt, scene)) };
}

export async function editScene(
  pipelines: Pipelines,
  { kind, scene, instruction, expected }: EditCase,
  options: EvaluationOptions,
): Promise<Outcome> {
  const request = {
    ...settingsOf(pipelines, options),
    guidanceScale: pipelines.model.manifest.defaults.editGuidanceScale,
    source: render(scene),
    instruction,
    unconditionalPrompt: pipelines.model.manifest.prompt.imageEditUnconditional,
  };
  const scenes = await scenesOf(imageEdit(pipelines, request, { signal: NEVER }));
  const verdicts = scenes.map((found) => {
    const isRight = showsScene(found, expected);
    return { isRight, isPure: isRight && found.specks === 0 };
  });
  return { group: kind, text: instruction, verdicts };
}

export async function askAbout(
  pipelines: Pipelines,
  { kind, scene, question, answer }: QuestionCase,
): Promise<Outcome> {
  const { size } = pipelines.model.manifest.defaults;
  const request = { image: render(scene), question, size, maxTokens: MAX_ANSWER_TOKENS };
  let said = "";
  for await (const event of imageToText(pipelines, request, { signal: NEVER })) {
    if (event.kind === "text") said += event.text;
  }
  const isRight = said === answer;
  return { group: kind, text: `${question} ${answer}`, verdicts: [{ isRight, isPure: isRight }], said };
}

const NEVER = new AbortController().signal;
const MAX_ANSWER_TOKENS = 64;

function settingsOf({ model }: Pipelines, { pictures, seed, speed }: EvaluationOptions): DrawingSettings {
  const { size, ...settings } = model.manifest.defaults;
  return { ...settings, width: size, height: size, count: pictures, guidanceSchedule: "constant", speed, seed };
}

async function scenesOf(events: AsyncIterable<DrawingEvent>): Promise<readonly DetectedScene[]> {
  const scenes: DetectedScene[] = [];
  for await (const event of events) if (event.kind === "image") scenes.push(detectScene(event.image));
  return scenes;
}
