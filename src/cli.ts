/** The command line of a running server. It talks to the public API only, like any other client. */
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { Command, Option } from "commander";
import { ApiClient } from "./cli/api-client.ts";
import { drawBatch } from "./cli/batch.ts";
import { readCredentials } from "./cli/credentials.ts";
import { describe, resumeDescription } from "./cli/describe.ts";
import { DRAWING_OPTIONS, type DrawingFlags } from "./cli/drawing-options.ts";
import type { FollowOptions } from "./cli/follow.ts";
import { draw, type GenerateOptions, redraw, resume } from "./cli/generate.ts";
import { finiteNumber, seed, wholeNumber } from "./cli/option-values.ts";
import { findPicture, type PictureSource, sendPicture } from "./cli/picture-source.ts";
import { ProgressLine } from "./cli/progress-line.ts";
import type { PictureName, ReadingWish, TaskWish } from "./cli/task-wish.ts";
import { loadCommandConfig, ROOT } from "./platform/config.ts";
import { stopSignal } from "./platform/lifecycle.ts";

const PATIENCE_MS = 60_000;
const RETRY_MS = 500;
const { dataDir, startedIn } = loadCommandConfig();

interface GenerateFlags extends DrawingFlags {
  readonly count?: number;
  readonly resume?: string;
}

interface EditFlags extends GenerateFlags {
  readonly mask?: string;
}

interface VaryFlags extends GenerateFlags {
  readonly prompt?: string;
  readonly strength?: number;
}

interface DescribeFlags extends Omit<ReadingWish, "question"> {
  readonly preset?: string;
  readonly resume?: string;
  readonly credentials?: string;
}

interface BatchFlags extends DrawingFlags {
  readonly gridSize: number;
}

const CREDENTIALS_HELP = `url and apiKey of the server (default: ${join(dataDir, "credentials.json")})`;
const OUT_HELP = "where the picture goes, a name that ends in .png; an older file is replaced";
const DEFAULTS_HELP = "\nSettings that are left out have the preset's defaults.";
const PICTURE_HELP = "a picture file, up to 20 MB, or the id of an image that the server has (img_…)";

const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string };
const program = new Command("atelier")
  .description("Draws, edits and describes pictures on a running Atelier server.")
  .version(version, "-V, --version", "print the version");

const generating = program
  .command("generate")
  .description("draw a picture and write it to a file; Ctrl-C cancels")
  .argument("[prompt]", 'what to draw, in quotes, such as "a red circle at the top left"');
withDrawingOptions(generating).action(generate);

const editing = program
  .command("edit")
  .description("draw a picture anew as an instruction says; Ctrl-C cancels")
  .argument("[picture]", PICTURE_HELP)
  .argument("[instruction]", 'what to change, in quotes, such as "make the circle blue"');
const maskOption = new Option(
  "--mask <picture>",
  "as large as the picture: white where it is drawn anew, black where it stays",
);
withDrawingOptions(editing, maskOption).action(edit);

const varying = program
  .command("vary")
  .description("draw pictures like a given one; Ctrl-C cancels")
  .argument("[picture]", PICTURE_HELP);
withDrawingOptions(
  varying,
  new Option("--strength <share>", "share of the picture that is drawn anew: above 0, at most 1").argParser(
    finiteNumber,
  ),
  new Option("--prompt <text>", "what the result shows; without it, what fits to the patches that stay"),
).action(vary);

const describing = program
  .command("describe")
  .description("answer a question about a picture, word by word; Ctrl-C cancels")
  .argument("[picture]", PICTURE_HELP)
  .argument("[question]", "what to answer, in quotes", "Describe the image in detail.");
const readingOptions = [
  new Option("--preset <name>", "the model; may be left out while the server offers only one"),
  new Option("--max-tokens <n>", "an answer that is not finished then is cut off").argParser(wholeNumber),
  new Option("--size <pixels>", "side at which the picture is looked at").argParser(wholeNumber),
  new Option("--temperature <t>", "draws the words, the more freely the higher; 0 takes the likeliest").argParser(
    finiteNumber,
  ),
  new Option("--top-p <share>", "draws from the fewest likeliest words that have this probability together").argParser(
    finiteNumber,
  ),
  new Option("--seed <n>", "of drawn words; random unless given").argParser(seed),
];
for (const option of readingOptions) describing.addOption(option);
describing
  .addOption(resumeOption("wait for an answer that was asked for before", readingOptions))
  .option("--credentials <file>", CREDENTIALS_HELP)
  .addHelpText("after", DEFAULTS_HELP)
  .action(answer);

program
  .command("replay")
  .description("draw what was asked for before once more, with the same settings and seed; Ctrl-C cancels")
  .argument("<id>", "a generation that has ended, however it has (gen_…)")
  .requiredOption("--out <file>", OUT_HELP)
  .option("--credentials <file>", CREDENTIALS_HELP)
  .action(replay);

const batching = program
  .command("batch")
  .description("draw every prompt of a file; run again, it goes on where it was")
  .argument("<prompts>", 'a JSON list of objects with a "prompt", or JSONL; a full stop is put behind each prompt')
  .requiredOption("--out <folder>", "gets 00000000.jpg and 00000000.json for the first prompt, and so on")
  .option("--grid-size <g>", "draw g x g pictures of each prompt, tiled into one", wholeNumber, 2);
for (const option of DRAWING_OPTIONS) if (option.attributeName() !== "count") batching.addOption(option);
batching.option("--credentials <file>", CREDENTIALS_HELP).addHelpText("after", DEFAULTS_HELP).action(batch);

program
  .command("model")
  .description("build, inspect and run models without a server")
  .allowUnknownOption()
  .helpOption(false)
  .argument("[arguments...]")
  .action((args: string[]) => {
    const child = spawn(process.execPath, [join(ROOT, "dist/inference/cli.js"), ...args], {
      cwd: startedIn,
      stdio: "inherit",
    });
    child.on("close", (code) => {
      process.exitCode = code ?? 1;
    });
  });

function withDrawingOptions(command: Command, ...own: readonly Option[]): Command {
  const options = [...own, ...DRAWING_OPTIONS];
  command.requiredOption("--out <file>", OUT_HELP);
  for (const option of options) command.addOption(option);
  return command
    .addOption(resumeOption("wait for a generation that exists, and write its pictures", options))
    .option("--credentials <file>", CREDENTIALS_HELP)
    .addHelpText("after", DEFAULTS_HELP);
}

function resumeOption(act: string, others: readonly Option[]): Option {
  return new Option("--resume <id>", `instead of a new one: ${act}`).conflicts(
    others.map((option) => option.attributeName()),
  );
}

async function generate(prompt: string | undefined, flags: GenerateFlags): Promise<void> {
  if (flags.resume !== undefined) return resumeDrawing("generate", prompt, flags);
  if (prompt === undefined)
    throw new Error('Say what to draw: generate "a red circle at the top left" --out circle.png');
  await startDrawing("generate", flags, async () => ({ textToImage: { prompt, ...wishOf(flags) } }));
}

async function edit(picture: string | undefined, instruction: string | undefined, flags: EditFlags): Promise<void> {
  if (flags.resume !== undefined) return resumeDrawing("edit", picture, flags);
  if (picture === undefined || instruction === undefined)
    throw new Error('Name a picture and say what to change: edit heart.png "make the heart blue" --out blue.png');
  const { mask, ...settings } = flags;
  const source = findPicture(picture, startedIn);
  const maskSource = mask === undefined ? undefined : findPicture(mask, startedIn);
  await startDrawing("edit", flags, async (send) => ({
    imageEdit: {
      image: await send(source),
      mask: maskSource && (await send(maskSource)),
      instruction,
      ...wishOf(settings),
    },
  }));
}

async function vary(picture: string | undefined, flags: VaryFlags): Promise<void> {
  if (flags.resume !== undefined) return resumeDrawing("vary", picture, flags);
  if (picture === undefined) throw new Error("Name a picture: vary heart.png --strength 0.5 --out other.png");
  const source = findPicture(picture, startedIn);
  await startDrawing("vary", flags, async (send) => ({
    imageVariation: { image: await send(source), ...wishOf(flags) },
  }));
}

async function answer(picture: string | undefined, question: string, flags: DescribeFlags): Promise<void> {
  const { resume: id, credentials, preset, ...wish } = flags;
  forbidBoth(id, picture);
  if (id === undefined && picture === undefined)
    throw new Error('Name a picture: describe heart.png "What colour is the heart?"');
  const source = picture === undefined ? undefined : findPicture(picture, startedIn);
  const session = openSession(credentials);
  const options = {
    ...session,
    write: (text: string) => void process.stdout.write(text),
    resumeCommand: (generation: string) => resumeCommand(["describe", "--resume", generation], credentials),
  };
  if (id !== undefined) process.exitCode = await resumeDescription(id, options);
  else if (source !== undefined) {
    const makeTask = async () => ({ imageToText: { image: await session.send(source), question, ...wish } });
    process.exitCode = await describe({ makeTask, preset }, options);
  }
}

async function replay(id: string, flags: Pick<DrawingFlags, "out" | "credentials">): Promise<void> {
  process.exitCode = await redraw(id, openDrawing("generate", flags));
}

type Send = (source: PictureSource) => Promise<PictureName>;

async function startDrawing(
  command: string,
  flags: GenerateFlags,
  makeTask: (send: Send) => Promise<TaskWish>,
): Promise<void> {
  const { preset, count } = flags;
  const { send, ...options } = openDrawing(command, flags);
  process.exitCode = await draw({ makeTask: () => makeTask(send), preset, count }, options);
}

async function resumeDrawing(command: string, argument: string | undefined, flags: GenerateFlags): Promise<void> {
  forbidBoth(flags.resume, argument);
  process.exitCode = await resume(flags.resume ?? "", openDrawing(command, flags));
}

function forbidBoth(resumed: string | undefined, argument: string | undefined): void {
  if (resumed !== undefined && argument !== undefined)
    throw new Error(`Give "${argument}", or --resume with an id, but not both.`);
}

/** The settings among the flags. */
function wishOf<T extends GenerateFlags>({ out: _, preset: __, credentials: ___, resume: ____, ...wish }: T) {
  return wish;
}

function openDrawing(
  command: string,
  { out, credentials }: Pick<DrawingFlags, "out" | "credentials">,
): GenerateOptions & { readonly send: Send } {
  return {
    ...openSession(credentials),
    out,
    folder: startedIn,
    resumeCommand: (id) => resumeCommand([command, "--resume", id, "--out", out], credentials),
  };
}

function openSession(credentials: string | undefined): Omit<FollowOptions, "resumeCommand"> & { readonly send: Send } {
  const progress = new ProgressLine(process.stderr);
  process.on("exit", () => progress.end()); // also when a second Ctrl-C ends the process
  const say = (text: string): void => {
    progress.end();
    console.error(text);
  };
  const client = openClient(credentials, say);
  const stop = stopSignal({ endsWithParent: false });
  const onSent = (sentBytes: number, sizeBytes: number): void => progress.showSending(sentBytes, sizeBytes);
  return { client, progress, stop, say, send: (source) => sendPicture(client, source, { stop, onSent }) };
}

async function batch(prompts: string, flags: BatchFlags): Promise<void> {
  const { out, gridSize, preset, credentials, ...settings } = flags;
  const say = (text: string): void => console.error(text);
  process.exitCode = await drawBatch({
    client: openClient(credentials, say),
    file: resolve(startedIn, prompts),
    out: resolve(startedIn, out),
    gridSize,
    preset,
    settings,
    stop: stopSignal({ endsWithParent: false }),
    say,
  });
}

function openClient(credentials: string | undefined, say: (text: string) => void): ApiClient {
  const file = resolve(startedIn, credentials ?? join(dataDir, "credentials.json"));
  return new ApiClient(readCredentials(file), {
    patienceMs: PATIENCE_MS,
    retryMs: RETRY_MS,
    onBegin: (reason, isThere) => {
      const what = isThere ? "the server cannot do it now" : "lost the server";
      say(`${what} (${reason}), trying again for ${PATIENCE_MS / 1000} s …`);
    },
  });
}

/** To be pasted into a shell. */
function resumeCommand(args: readonly string[], credentials: string | undefined): string {
  const quote = (text: string): string => (/^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
  const all = credentials === undefined ? args : [...args, "--credentials", credentials];
  return `npm run atelier -- ${all.map(quote).join(" ")}`;
}

try {
  await program.parseAsync();
} catch (error) {
  console.error(`atelier: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
