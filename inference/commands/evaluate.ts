/** `model evaluate`. */
import { SingleBar } from "cli-progress";
import { Command, Option } from "commander";
import { editCases } from "../eval/edit-cases.ts";
import { askAbout, drawPrompt, editScene, type Outcome } from "../eval/evaluation.ts";
import { genevalPrompts } from "../eval/geneval-prompts.ts";
import { questionCases } from "../eval/question-cases.ts";
import { formatScore } from "../eval/score.ts";
import type { Speed } from "../sampling/speed.ts";
import {
  type ModelFlags,
  openModel,
  providerOption,
  seed,
  speedOption,
  threadsOption,
  wholeNumber,
} from "./arguments.ts";

interface EvaluateFlags extends ModelFlags {
  readonly prompts: number;
  readonly edits: number;
  readonly questions: number;
  readonly pictures: number;
  readonly seed: bigint;
  readonly speed: Speed;
}

export const evaluateCommand = (): Command =>
  new Command("evaluate")
    .description(
      "let the model draw, edit and describe scenes of the tiny preset's world, and count what comes out right",
    )
    .requiredOption("--model <model folder>", "a built model")
    .addOption(count("--prompts <n>", "of each of GenEval's six categories", 34))
    .addOption(count("--edits <n>", "of each of four kinds", 30))
    .addOption(count("--questions <n>", "of each of six kinds", 100))
    .addOption(new Option("--pictures <n>", "of each prompt and edit").argParser(wholeNumber(1, 4)).default(4))
    .addOption(new Option("--seed <n>", "of prompts and pictures").argParser(seed).default(4242n, "4242"))
    .addOption(providerOption())
    .addOption(speedOption())
    .addOption(threadsOption())
    .action(evaluate);

const count = (flags: string, help: string, ordinary: number): Option =>
  new Option(flags, `${help}; 0 leaves them out`).argParser(wholeNumber(0, 1000)).default(ordinary);

async function evaluate(flags: EvaluateFlags): Promise<void> {
  const { seed } = flags;
  const pipelines = await openModel(flags);
  try {
    await printScore("Text to image", genevalPrompts(flags.prompts, seed), (each) =>
      drawPrompt(pipelines, each, flags),
    );
    await printScore("Image edit", editCases(flags.edits, seed), (each) => editScene(pipelines, each, flags));
    await printScore("Image to text", questionCases(flags.questions, seed), (each) => askAbout(pipelines, each));
  } finally {
    await pipelines.close();
  }
}

async function printScore<T>(title: string, cases: readonly T[], run: (each: T) => Promise<Outcome>): Promise<void> {
  if (cases.length === 0) return;
  const bar = new SingleBar({ format: `{bar} ${title} {value}/{total}`, stream: process.stderr });
  bar.start(cases.length, 0);
  const outcomes: Outcome[] = [];
  try {
    for (const each of cases) {
      outcomes.push(await run(each));
      bar.increment();
    }
  } finally {
    bar.stop();
  }
  console.log(formatScore(title, outcomes));
}
