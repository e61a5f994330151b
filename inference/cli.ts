/** Model tooling on the command line: build, inspect, run, evaluate. */
import { randomBytes } from "node:crypto";
import { closeSync, existsSync, openSync, realpathSync, rmSync, statSync } from "node:fs";
import { dirname, extname } from "node:path";
import { SingleBar } from "cli-progress";
import { Command, InvalidArgumentError, Option } from "commander";
import { buildModel } from "./build-model.ts";
import { endWithStdin, ignoreInterrupt } from "./child.ts";
import { evaluate, formatReport } from "./eval/evaluation.ts";
import { genevalPrompts } from "./eval/geneval-prompts.ts";
import { tile, writeImage } from "./image/rgb-image.ts";
import { buildCommand, loadManifest } from "./manifest.ts";
import { openPipelines, type Pipelines } from "./pipelines/pipelines.ts";
import { defaultSteps, textToImage } from "./pipelines/text-to-image.ts";
import { threadsFor } from "./runtime/threads.ts";
import { GUIDANCE_SCHEDULES, type GuidanceSchedule } from "./sampling/guidance.ts";

interface BuildFlags {
  readonly out: string;
  readonly config?: string;
  readonly requireTokenizer?: boolean;
  readonly endsWithStdin?: boolean;
}

interface TextToImageFlags {
  readonly model: string;
  readonly prompt: string;
  readonly unconditionalPrompt?: string;
  readonly out: string;
  readonly width?: number;
  readonly height?: number;
  readonly gridSize: number;
  readonly steps?: number;
  readonly diffusionSteps?: string;
  readonly guidanceScale?: number;
  readonly guidanceSchedule: GuidanceSchedule;
  readonly temperature?: number;
  readonly seed: bigint;
  readonly threads?: number;
}

interface EvaluateFlags {
  readonly model: string;
  readonly prompts: number;
  readonly pictures: number;
  readonly seed: bigint;
  readonly threads?: number;
}

const IMAGE_ENDINGS = [".png", ".jpg", ".jpeg", ".webp"];
/** As many as a server's WORKER_THREADS may be. */
const MAX_THREADS = 256;
/** All pictures of a grid are drawn at once: 64 of 1024 pixels have 262,144 image tokens. */
const MAX_GRID_SIZE = 8;

const threads = (): Option =>
  new Option("--threads <n>", "threads of one operator; by the model's size unless given").argParser(
    wholeNumber(1, MAX_THREADS),
  );

const program = new Command("npm run atelier -- model").description(
  "Builds UniPic models from their published checkpoint and runs them.",
);

program
  .command("build")
  .description(
    "build a model folder (ONNX graphs and weights) from a checkpoint folder; does nothing when it is up to date",
  )
  .argument("<checkpoint folder>", "holds pytorch_model.bin, kl16.ckpt and Qwen2.5-1.5B-Instruct/")
  .requiredOption("--out <model folder>", "where the built model goes")
  .option("--config <file>", "dimensions, when the folder has no unipic.json and they are not the published ones")
  .option("--require-tokenizer", "refuse a checkpoint that has none: nothing can be drawn from a prompt with it")
  .addOption(new Option("--ends-with-stdin", "end when standard input closes: for a parent process").hideHelp())
  .action(async (checkpointFolder: string, flags: BuildFlags) => {
    const { out, config, requireTokenizer = false } = flags;
    if (flags.endsWithStdin) {
      endWithStdin();
      ignoreInterrupt();
    }
    const startedAt = performance.now();
    const { manifest, isNew } = await buildModel({
      checkpointFolder,
      out,
      allowsNoTokenizer: !requireTokenizer,
      ...(config === undefined ? {} : { configFile: config }),
    });
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
    console.error(
      isNew ? `built ${manifest.preset} in ${out} (${seconds} s)` : `${manifest.preset} in ${out} is up to date`,
    );
    if (!manifest.hasTokenizer) console.error("It has no tokenizer, so it cannot draw from prompts.");
  });

program
  .command("inspect")
  .description("print what a built model folder contains, as JSON")
  .argument("<model folder>")
  .action((folder: string) => {
    const { latentPreview: _, ...manifest } = loadManifest(folder);
    console.log(JSON.stringify(manifest, undefined, 2));
  });

program
  .command("run")
  .description("run one task on this machine, without a server")
  .command("text-to-image")
  .description("draw a picture; settings that are left out have the model's defaults")
  .requiredOption("--model <model folder>", "a built model")
  .requiredOption("--prompt <text>")
  .requiredOption("--out <file>", `the picture: ${IMAGE_ENDINGS.join(", ")}`)
  .option("--unconditional-prompt <text>", "what guidance leads away from")
  .option("--width <pixels>", "a multiple of the model's stride", wholeNumber(1))
  .option("--height <pixels>", "a multiple of the model's stride", wholeNumber(1))
  .addOption(
    new Option("--grid-size <g>", `draw g x g pictures, tiled into one; up to ${MAX_GRID_SIZE}`)
      .argParser(wholeNumber(1, MAX_GRID_SIZE))
      .default(1),
  )
  .option("--steps <n>", "MAR steps", wholeNumber(1))
  .option("--diffusion-steps <steps>", 'steps of the reverse diffusion: "100", "10,5,20" or "ddim50"')
  .option("--guidance-scale <scale>", "1 turns guidance off", finiteNumber)
  .addOption(new Option("--guidance-schedule <name>").choices(GUIDANCE_SCHEDULES).default("constant"))
  .option("--temperature <t>", "of the noise of the reverse diffusion", finiteNumber)
  .addOption(
    new Option("--seed <n>", "unsigned, 64 bits; random unless given")
      .argParser(seed)
      .default(randomBytes(8).readBigUInt64LE(), "random"),
  )
  .addOption(threads())
  .action(runTextToImage);

program
  .command("evaluate")
  .description("draw GenEval-like prompts of the tiny preset's world, and count the pictures that show what was asked")
  .requiredOption("--model <model folder>", "a built model")
  .addOption(new Option("--prompts <n>", "of each of the six categories").argParser(wholeNumber(1, 1000)).default(34))
  .addOption(new Option("--pictures <n>", "of each prompt").argParser(wholeNumber(1, 4)).default(4))
  .addOption(new Option("--seed <n>", "of prompts and pictures").argParser(seed).default(4242n, "4242"))
  .addOption(threads())
  .action(async (flags: EvaluateFlags) => {
    const { seed, pictures } = flags;
    const pipelines = openModel(flags);
    const prompts = genevalPrompts(flags.prompts, seed);
    const bar = new SingleBar({ format: "{bar} prompt {value}/{total}", stream: process.stderr });
    bar.start(prompts.length, 0);
    try {
      const onPrompt = (done: number): void => bar.update(done);
      const report = await evaluate(pipelines, { prompts, pictures, seed, onPrompt });
      bar.stop();
      console.log(formatReport(report));
    } finally {
      bar.stop();
      await pipelines.close();
    }
  });

async function runTextToImage(flags: TextToImageFlags): Promise<void> {
  requireWritable(flags.out);
  const pipelines = openModel(flags);
  const { defaults, prompt } = pipelines.model.manifest;
  const size = { width: flags.width ?? defaults.size, height: flags.height ?? defaults.size };
  const request = {
    ...size,
    prompt: flags.prompt,
    unconditionalPrompt: flags.unconditionalPrompt ?? prompt.textToImageUnconditional,
    count: flags.gridSize ** 2,
    steps: flags.steps ?? defaultSteps(pipelines.model, size),
    diffusionSteps: flags.diffusionSteps ?? defaults.diffusionSteps,
    guidanceScale: flags.guidanceScale ?? defaults.guidanceScale,
    guidanceSchedule: flags.guidanceSchedule,
    temperature: flags.temperature ?? defaults.temperature,
    seed: flags.seed,
  };
  const bar = new SingleBar({ format: "{bar} step {value}/{total} | {duration_formatted}", stream: process.stderr });
  const images = [];
  bar.start(request.steps, 0);
  try {
    for await (const event of textToImage(pipelines, request, { signal: new AbortController().signal })) {
      if (event.kind === "step") bar.update(event.progress.stepsDone);
      else images.push(event.image);
    }
  } finally {
    bar.stop();
    await pipelines.close();
  }
  await writeImage(tile(images, flags.gridSize), flags.out);
  console.error(`wrote ${flags.out} (seed ${request.seed})`);
}

function openModel({ model, threads }: { model: string; threads?: number }): Pipelines {
  if (!existsSync(model))
    throw new Error(`There is no model folder at ${model}. Build it first: ${buildCommand(model)}`);
  return openPipelines(model, { provider: "cpu", threads: threads ?? threadsFor(model) });
}

/** Tries it, because permissions do not say everything (/proc); what is there stays as it is. */
function requireWritable(file: string): void {
  if (!IMAGE_ENDINGS.includes(extname(file).toLowerCase())) {
    throw new Error(`--out ${file}: the file must end in ${IMAGE_ENDINGS.join(", ")}.`);
  }
  if (!existsSync(dirname(file))) {
    throw new Error(`--out ${file}: there is no folder ${dirname(file)}. Make it, or name another one.`);
  }
  const existing = statSync(file, { throwIfNoEntry: false });
  if (existing?.isDirectory()) throw new Error(`--out ${file}: is a folder. Name a file in it.`);
  try {
    closeSync(openSync(file, "a"));
  } catch (cause) {
    const reason = cause instanceof Error && "code" in cause ? String(cause.code) : String(cause);
    throw new Error(`--out ${file}: cannot be written (${reason}). Name a file that you may write.`, { cause });
  }
  if (existing === undefined) rmSync(realpathSync(file)); // through a link, what it points to
}

function wholeNumber(min: number, max?: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < min || value > (max ?? value)) {
      const range = max === undefined ? `of at least ${min}` : `from ${min} to ${max}`;
      throw new InvalidArgumentError(`Give a whole number ${range}.`);
    }
    return value;
  };
}

function finiteNumber(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) throw new InvalidArgumentError("Give a number.");
  return value;
}

function seed(text: string): bigint {
  if (!/^\d{1,20}$/.test(text) || BigInt(text) >= 2n ** 64n)
    throw new InvalidArgumentError("Give a whole number below 2^64.");
  return BigInt(text);
}

try {
  await program.parseAsync();
} catch (error) {
  console.error(`model: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
