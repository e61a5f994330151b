/** The command line of a running server. It talks to the public API only, like any other client. */
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { Command, Option } from "commander";
import { ApiClient } from "./cli/api-client.ts";
import { drawBatch } from "./cli/batch.ts";
import { readCredentials } from "./cli/credentials.ts";
import { draw, type GenerateOptions, resume } from "./cli/generate.ts";
import { finiteNumber, seed, speed, wholeNumber } from "./cli/option-values.ts";
import { ProgressLine } from "./cli/progress-line.ts";
import { loadCommandConfig, ROOT } from "./platform/config.ts";
import { stopSignal } from "./platform/lifecycle.ts";

const PATIENCE_MS = 60_000;
const RETRY_MS = 500;
const { dataDir, startedIn } = loadCommandConfig();

interface DrawingFlags {
  readonly out: string;
  readonly preset?: string;
  readonly width?: number;
  readonly height?: number;
  readonly steps?: number;
  readonly guidanceScale?: number;
  readonly unconditionalPrompt?: string;
  readonly temperature?: number;
  readonly speed?: string;
  readonly seed?: string;
  readonly credentials?: string;
}

interface GenerateFlags extends DrawingFlags {
  readonly count?: number;
  readonly resume?: string;
}

interface BatchFlags extends DrawingFlags {
  readonly gridSize: number;
}

const DRAWING_OPTIONS = [
  new Option("--preset <name>", "the model; may be left out while the server offers only one"),
  new Option(
    "--count <n>",
    "how many pictures; --out heart.png writes heart.png, heart-2.png, heart-3.png …",
  ).argParser(wholeNumber),
  new Option("--width <pixels>", "one of the preset's sizes, or any multiple of its step").argParser(wholeNumber),
  new Option("--height <pixels>", "one of the preset's sizes, or any multiple of its step").argParser(wholeNumber),
  new Option(
    "--steps <n>",
    "rounds in which the picture is uncovered, some patches in each; more take longer, cost more, and often look better",
  ).argParser(wholeNumber),
  new Option("--guidance-scale <scale>", "how strongly the picture follows the prompt; 1 turns guidance off").argParser(
    finiteNumber,
  ),
  new Option("--unconditional-prompt <text>", "what guidance leads away from"),
  new Option("--temperature <t>", "how freely details vary: below 1 calmer, above 1 wilder").argParser(finiteNumber),
  new Option(
    "--speed <name>",
    "exact, fast or faster: approximations that take less time for the same price",
  ).argParser(speed),
  new Option("--seed <n>", "the same seed and settings draw the same picture; random unless given").argParser(seed),
];

const CREDENTIALS_HELP = `url and apiKey of the server (default: ${join(dataDir, "credentials.json")})`;

const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string };
const program = new Command("atelier")
  .description("Draws pictures on a running Atelier server.")
  .version(version, "-V, --version", "print the version");

const generating = program
  .command("generate")
  .description("draw a picture and write it to a file; Ctrl-C cancels")
  .argument("[prompt]", 'what to draw, in quotes, such as "a red circle at the top left"')
  .requiredOption("--out <file>", "where the picture goes, a name that ends in .png; an older file is replaced");
for (const option of DRAWING_OPTIONS) generating.addOption(option);
generating
  .addOption(
    new Option(
      "--resume <id>",
      "instead of a prompt: wait for a generation that exists, and write its pictures",
    ).conflicts(DRAWING_OPTIONS.map((option) => option.attributeName())),
  )
  .option("--credentials <file>", CREDENTIALS_HELP)
  .addHelpText("after", "\nSettings that are left out have the preset's defaults.")
  .action(generate);

const batching = program
  .command("batch")
  .description("draw every prompt of a file; run again, it goes on where it was")
  .argument("<prompts>", 'a JSON list of objects with a "prompt", or JSONL; a full stop is put behind each prompt')
  .requiredOption("--out <folder>", "gets 00000000.jpg and 00000000.json for the first prompt, and so on")
  .option("--grid-size <g>", "draw g x g pictures of each prompt, tiled into one", wholeNumber, 2);
for (const option of DRAWING_OPTIONS) if (option.attributeName() !== "count") batching.addOption(option);
batching
  .option("--credentials <file>", CREDENTIALS_HELP)
  .addHelpText("after", "\nSettings that are left out have the preset's defaults.")
  .action(batch);

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

async function generate(prompt: string | undefined, flags: GenerateFlags): Promise<void> {
  const { out, resume: id, credentials, ...wish } = flags;
  if (prompt !== undefined && id !== undefined) throw new Error("Give a prompt, or --resume with an id, but not both.");
  const progress = new ProgressLine(process.stderr);
  process.on("exit", () => progress.end()); // also when a second Ctrl-C ends the process
  const say = (text: string): void => {
    progress.end();
    console.error(text);
  };
  const client = openClient(credentials, say);
  const options: GenerateOptions = {
    client,
    progress,
    out,
    folder: startedIn,
    stop: stopSignal({ endsWithParent: false }),
    say,
    resumeCommand: (generation) => resumeCommand(generation, flags),
  };
  if (id !== undefined) process.exitCode = await resume(id, options);
  else if (prompt !== undefined) process.exitCode = await draw({ prompt, ...wish }, options);
  else throw new Error('Say what to draw: generate "a red circle at the top left" --out circle.png');
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
    onBegin: (reason) => say(`lost the server (${reason}), trying again for ${PATIENCE_MS / 1000} s …`),
  });
}

/** To be pasted into a shell. */
function resumeCommand(id: string, { out, credentials }: GenerateFlags): string {
  const quote = (text: string): string => (/^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
  const server = credentials === undefined ? "" : ` --credentials ${quote(credentials)}`;
  return `npm run atelier -- generate --resume ${id} --out ${quote(out)}${server}`;
}

try {
  await program.parseAsync();
} catch (error) {
  console.error(`atelier: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
