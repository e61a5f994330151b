/** `model run image-to-text`. */
import { Command } from "commander";
import { readImage } from "../image/read-image.ts";
import { imageToText } from "../pipelines/image-to-text.ts";
import {
  finiteNumber,
  type ModelFlags,
  openModel,
  providerOption,
  requireFile,
  seedOption,
  threadsOption,
  wholeNumber,
} from "./arguments.ts";

interface DescribeFlags extends ModelFlags {
  readonly image: string;
  readonly prompt: string;
  readonly size?: number;
  readonly maxTokens?: number;
  readonly temperature: number;
  readonly topP: number;
  readonly seed: bigint;
}

export const imageToTextCommand = (): Command =>
  new Command("image-to-text")
    .description("answer a question about a picture, word by word on standard output")
    .requiredOption("--model <model folder>", "a built model")
    .requiredOption("--image <file>", "the picture; it is padded to a square")
    .option("--prompt <text>", "the question", "Describe the image in detail.")
    .option("--size <pixels>", "the side at which the picture is looked at; a multiple of the stride", wholeNumber(1))
    .option("--max-tokens <n>", "an answer that is not finished then is cut off", wholeNumber(1))
    .option("--temperature <t>", "draws the words of the answer; 0 takes the likeliest", finiteNumber, 0)
    .option("--top-p <p>", "draw from the likeliest tokens that have this probability together", finiteNumber, 1)
    .addOption(seedOption())
    .addOption(providerOption())
    .addOption(threadsOption())
    .action(describe);

async function describe(flags: DescribeFlags): Promise<void> {
  requireFile(flags.image, "--image");
  const image = await readImage(flags.image);
  const pipelines = await openModel(flags);
  const size = flags.size ?? pipelines.model.manifest.defaults.size;
  const limit = flags.maxTokens === undefined ? {} : { maxTokens: flags.maxTokens };
  const { temperature, topP, seed } = flags;
  const sampling = temperature === 0 ? undefined : { temperature, topP, seed };
  const request = { image, question: flags.prompt, size, sampling, ...limit };
  try {
    for await (const event of imageToText(pipelines, request, { signal: new AbortController().signal })) {
      if (event.kind === "text") process.stdout.write(event.text);
      else if (event.kind === "end" && event.reason === "length")
        console.error(`cut off after ${event.tokens} tokens; see --max-tokens`);
    }
    process.stdout.write("\n");
    if (sampling !== undefined) console.error(`seed ${seed}`);
  } finally {
    await pipelines.close();
  }
}
