/** `model run text-to-image` and `model run image-edit`. */
import { SingleBar } from "cli-progress";
import { Command, Option } from "commander";
import { readImage } from "../image/read-image.ts";
import { type RgbImage, tile, writeImage } from "../image/rgb-image.ts";
import { type DrawingEvent, type DrawingSettings, defaultSteps } from "../pipelines/drawing.ts";
import { imageEdit } from "../pipelines/image-edit.ts";
import { imageVariation } from "../pipelines/image-variation.ts";
import type { Pipelines } from "../pipelines/pipelines.ts";
import { textToImage } from "../pipelines/text-to-image.ts";
import { GUIDANCE_SCHEDULES, type GuidanceSchedule } from "../sampling/guidance.ts";
import type { Speed } from "../sampling/speed.ts";
import {
  finiteNumber,
  IMAGE_FILE_HELP,
  type ModelFlags,
  openModel,
  providerOption,
  requireFile,
  requireWritable,
  seedOption,
  speedOption,
  threadsOption,
  wholeNumber,
} from "./arguments.ts";

export interface DrawFlags extends ModelFlags {
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
  readonly speed: Speed;
  readonly seed: bigint;
}

interface PromptFlags extends DrawFlags {
  readonly prompt: string;
}

interface EditFlags extends PromptFlags {
  readonly image: string;
  readonly mask?: string;
}

interface VariationFlags extends DrawFlags {
  readonly image: string;
  readonly strength: number;
  readonly prompt?: string;
}

/** All pictures of a grid are drawn at once: 64 of 1024 pixels have 262,144 image tokens. */
const MAX_GRID_SIZE = 8;

export const textToImageCommand = (): Command =>
  drawCommand("text-to-image", { gridSize: 1 })
    .description("draw a picture; settings that are left out have the model's defaults")
    .requiredOption("--prompt <text>", "what to draw")
    .action((flags: PromptFlags) =>
      run(flags, "guidanceScale", (pipelines, settings, signal) => {
        const { prompt } = pipelines.model.manifest;
        const unconditionalPrompt = flags.unconditionalPrompt ?? prompt.textToImageUnconditional;
        return textToImage(pipelines, { ...settings, prompt: flags.prompt, unconditionalPrompt }, { signal });
      }),
    );

export const imageEditCommand = (): Command =>
  drawCommand("image-edit", { gridSize: 1 })
    .description(
      "draw a picture anew as an instruction says; it is cropped around its centre to the size of the result",
    )
    .requiredOption("--image <file>", "the picture to change")
    .requiredOption("--prompt <text>", "what to change")
    .option("--mask <file>", "a picture as large as --image: white where it is drawn anew, black where it stays")
    .action(async (flags: EditFlags) => {
      requireFile(flags.image, "--image");
      if (flags.mask !== undefined) requireFile(flags.mask, "--mask");
      const source = await readImage(flags.image);
      const mask = flags.mask === undefined ? {} : { mask: await readImage(flags.mask) };
      await run(flags, "editGuidanceScale", (pipelines, settings, signal) => {
        const { prompt } = pipelines.model.manifest;
        const unconditionalPrompt = flags.unconditionalPrompt ?? prompt.imageEditUnconditional;
        const request = { ...settings, ...mask, source, instruction: flags.prompt, unconditionalPrompt };
        return imageEdit(pipelines, request, { signal });
      });
    });

export const imageVariationCommand = (): Command =>
  drawCommand("image-variation", { gridSize: 1 })
    .description("draw pictures like a given one; it is cropped around its centre to the size of the result")
    .requiredOption("--image <file>", "the picture to vary")
    .option("--strength <share>", "share of the picture that is drawn anew, above 0 to 1", finiteNumber, 0.75)
    .option("--prompt <text>", "what the result shows; what fits to the picture unless given")
    .action(async (flags: VariationFlags) => {
      requireFile(flags.image, "--image");
      const source = await readImage(flags.image);
      await run(flags, "guidanceScale", (pipelines, settings, signal) => {
        const unconditionalPrompt =
          flags.unconditionalPrompt ?? pipelines.model.manifest.prompt.textToImageUnconditional;
        const { prompt, strength } = flags;
        return imageVariation(pipelines, { ...settings, source, strength, prompt, unconditionalPrompt }, { signal });
      });
    });

const drawCommand = (name: string, defaults: { gridSize: number }): Command =>
  drawingOptions(new Command(name), defaults).requiredOption("--out <file>", IMAGE_FILE_HELP);

/** What every command that draws can be told. */
export const drawingOptions = (command: Command, { gridSize }: { gridSize: number }): Command =>
  command
    .requiredOption("--model <model folder>", "a built model")
    .option("--unconditional-prompt <text>", "what guidance leads away from")
    .option("--width <pixels>", "a multiple of the model's stride", wholeNumber(1))
    .option("--height <pixels>", "a multiple of the model's stride", wholeNumber(1))
    .addOption(
      new Option("--grid-size <g>", `draw g x g pictures, tiled into one; up to ${MAX_GRID_SIZE}`)
        .argParser(wholeNumber(1, MAX_GRID_SIZE))
        .default(gridSize),
    )
    .option("--steps <n>", "MAR steps", wholeNumber(1))
    .option("--diffusion-steps <steps>", 'steps of the reverse diffusion: "100", "10,5,20" or "ddim50"')
    .option("--guidance-scale <scale>", "1 turns guidance off", finiteNumber)
    .addOption(new Option("--guidance-schedule <name>").choices(GUIDANCE_SCHEDULES).default("constant"))
    .option("--temperature <t>", "of the noise of the reverse diffusion", finiteNumber)
    .addOption(speedOption())
    .addOption(seedOption())
    .addOption(providerOption())
    .addOption(threadsOption());

async function run(
  flags: DrawFlags,
  guidance: "guidanceScale" | "editGuidanceScale",
  start: (pipelines: Pipelines, settings: DrawingSettings, signal: AbortSignal) => AsyncIterable<DrawingEvent>,
): Promise<void> {
  requireWritable(flags.out);
  const pipelines = await openModel(flags);
  const settings = settingsOf(flags, pipelines, guidance);
  const bar = new SingleBar({ format: "{bar} step {value}/{total} | {duration_formatted}", stream: process.stderr });
  const images: RgbImage[] = [];
  try {
    for await (const event of start(pipelines, settings, new AbortController().signal)) {
      if (event.kind === "started") bar.start(event.totalSteps, 0);
      else if (event.kind === "step") bar.update(event.progress.stepsDone);
      else if (event.kind === "image") images.push(event.image);
    }
  } finally {
    bar.stop();
    await pipelines.close();
  }
  await writeImage(tile(images, flags.gridSize), flags.out);
  console.error(`wrote ${flags.out} (seed ${settings.seed})`);
}

export function settingsOf(
  flags: DrawFlags,
  { model }: Pipelines,
  guidance: "guidanceScale" | "editGuidanceScale",
): DrawingSettings {
  const { defaults } = model.manifest;
  const size = { width: flags.width ?? defaults.size, height: flags.height ?? defaults.size };
  return {
    ...size,
    count: flags.gridSize ** 2,
    steps: flags.steps ?? defaultSteps(model, size),
    diffusionSteps: flags.diffusionSteps ?? defaults.diffusionSteps,
    guidanceScale: flags.guidanceScale ?? defaults[guidance],
    guidanceSchedule: flags.guidanceSchedule,
    temperature: flags.temperature ?? defaults.temperature,
    speed: flags.speed,
    seed: flags.seed,
  };
}
