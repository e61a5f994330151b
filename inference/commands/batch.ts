/** `model run batch-text-to-image`: the original's script of that name, with the same files in and out. */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SingleBar } from "cli-progress";
import { Command } from "commander";
import { z } from "zod";
import { tile, writeImage } from "../image/rgb-image.ts";
import { drawBatch } from "../pipelines/text-to-image-batch.ts";
import { openModel, wholeNumber } from "./arguments.ts";
import { type DrawFlags, drawingOptions, settingsOf } from "./draw.ts";

interface BatchFlags extends DrawFlags {
  readonly data: string;
  readonly batchSize: number;
}

const MAX_SEED = 2n ** 64n;

/** Keys beside `prompt` are carried along. */
const samplesSchema = z.array(z.looseObject({ prompt: z.string().refine((text) => text.trim() !== "", "is empty") }));
type Sample = z.infer<typeof samplesSchema>[number];

export const batchCommand = (): Command =>
  drawingOptions(new Command("batch-text-to-image"), { gridSize: 2 })
    .description("draw every prompt of a JSON file; what is in the folder already is left as it is")
    .requiredOption("--data <file>", 'a JSON list of objects with a "prompt"')
    .requiredOption("--out <folder>", "gets 00000000.jpg and 00000000.json for the first prompt, and so on")
    .option("--batch-size <n>", "prompts that are drawn together", wholeNumber(1, 64), 4)
    .action(drawAll);

async function drawAll(flags: BatchFlags): Promise<void> {
  const samples = readSamples(flags.data);
  mkdirSync(flags.out, { recursive: true });
  const missing = [...samples.entries()].filter(([index]) => !existsSync(fileOf(flags.out, index, "json")));
  if (missing.length < samples.length)
    console.error(`${samples.length - missing.length} of ${samples.length} are done`);
  const pipelines = await openModel(flags);
  const bar = new SingleBar({ format: "{bar} prompt {value}/{total} | {eta_formatted}", stream: process.stderr });
  bar.start(missing.length, 0);
  try {
    const { seed, ...settings } = settingsOf(flags, pipelines, "guidanceScale");
    const unconditionalPrompt = flags.unconditionalPrompt ?? pipelines.model.manifest.prompt.textToImageUnconditional;
    for (let start = 0; start < missing.length; start += flags.batchSize) {
      const batch = missing.slice(start, start + flags.batchSize);
      const requests = batch.map(([index, sample]) => ({
        ...settings,
        prompt: `${sample.prompt.trim()}.`, // this script appends a full stop, text2image.py does not
        unconditionalPrompt,
        seed: (seed + BigInt(index)) % MAX_SEED,
      }));
      const pictures = await drawBatch(pipelines, requests, new AbortController().signal);
      for (const [i, [index, sample]] of batch.entries()) {
        await writeSample(flags, index, { sample, pictures: tile(pictures[i] ?? [], flags.gridSize) });
      }
      bar.increment(batch.length);
    }
  } finally {
    bar.stop();
    await pipelines.close();
  }
  console.error(`${samples.length} prompts in ${flags.out} (seed ${flags.seed})`);
}

/** The description comes last, and whole: a sample with one is done. */
async function writeSample(
  { out }: BatchFlags,
  index: number,
  { sample, pictures }: { sample: Sample; pictures: Parameters<typeof writeImage>[0] },
): Promise<void> {
  await writeImage(pictures, fileOf(out, index, "jpg"));
  const description = fileOf(out, index, "json");
  writeFileSync(`${description}.part`, `${JSON.stringify({ ...sample, sample_id: index }, undefined, 2)}\n`);
  renameSync(`${description}.part`, description);
}

const fileOf = (folder: string, index: number, ending: string): string =>
  join(folder, `${String(index).padStart(8, "0")}.${ending}`);

function readSamples(file: string): readonly Sample[] {
  const refuse = (problem: string, cause?: unknown): never => {
    throw new Error(`--data ${file}: ${problem} Give a JSON list such as [{"prompt": "a star"}].`, { cause });
  };
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (cause) {
    return refuse("cannot be read.", cause);
  }
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (cause) {
    return refuse("is not valid JSON.", cause);
  }
  const parsed = samplesSchema.safeParse(content);
  if (parsed.success && parsed.data.length > 0) return parsed.data;
  const [issue] = parsed.error?.issues ?? [];
  return refuse(issue === undefined ? "is empty." : `${issue.path.join(".") || "it"}: ${issue.message}.`, parsed.error);
}
