/** `model build` and `model inspect`. */
import { Command, InvalidArgumentError, Option } from "commander";
import { buildModel } from "../build-model.ts";
import { endWithStdin, ignoreInterrupt } from "../child.ts";
import { DTYPES, type Dtype, loadManifest } from "../manifest.ts";
import { BuildProgressLine } from "./build-progress-line.ts";

interface BuildFlags {
  readonly out: string;
  readonly dtype: Dtype;
  readonly ropeInvFreqBf16?: boolean;
  readonly config?: string;
  readonly requireTokenizer?: boolean;
  readonly endsWithStdin?: boolean;
}

export const buildCommand = (): Command =>
  new Command("build")
    .description(
      "build a model folder (ONNX graphs and weights) from a checkpoint folder; does nothing when it is up to date",
    )
    .argument("<checkpoint folder>", "holds pytorch_model.bin, kl16.ckpt and Qwen2.5-1.5B-Instruct/")
    .requiredOption("--out <model folder>", "where the built model goes")
    .addOption(
      new Option("--dtype <dtype>", "of the large weights: see docs/graph-builder.md")
        .choices(DTYPES)
        .default("float32"),
    )
    .addOption(
      new Option(
        "--rope-inv-freq-bf16 <true|false>",
        "whether rotary frequencies are rounded to bf16, as the released scripts do (default: as unipic.json says, or else true)",
      ).argParser(trueOrFalse),
    )
    .option("--config <file>", "dimensions, when the folder has no unipic.json and they are not the published ones")
    .option("--require-tokenizer", "refuse a checkpoint that has none: nothing can be drawn from a prompt with it")
    .addOption(new Option("--ends-with-stdin", "end when standard input closes: for a parent process").hideHelp())
    .action(build);

async function build(checkpointFolder: string, flags: BuildFlags): Promise<void> {
  const { out, dtype, ropeInvFreqBf16, config, requireTokenizer = false } = flags;
  if (flags.endsWithStdin) {
    endWithStdin();
    ignoreInterrupt();
  }
  const startedAt = performance.now();
  const progress = new BuildProgressLine(process.stderr);
  const { manifest, isNew } = await buildModel({
    checkpointFolder,
    out,
    dtype,
    allowsNoTokenizer: !requireTokenizer,
    onProgress: (now) => progress.show(now),
    ...(config === undefined ? {} : { configFile: config }),
    ...(ropeInvFreqBf16 === undefined ? {} : { ropeInvFreqBf16 }),
  }).finally(() => progress.end());
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  console.error(
    isNew ? `built ${manifest.preset} in ${out} (${seconds} s)` : `${manifest.preset} in ${out} is up to date`,
  );
  if (!manifest.hasTokenizer) console.error("It has no tokenizer, so it cannot draw from prompts.");
}

function trueOrFalse(text: string): boolean {
  if (text !== "true" && text !== "false") throw new InvalidArgumentError("Give true or false.");
  return text === "true";
}

export const inspectCommand = (): Command =>
  new Command("inspect")
    .description("print what a built model folder contains, as JSON")
    .argument("<model folder>")
    .action((folder: string) => {
      const { latentPreview: _, ...manifest } = loadManifest(folder);
      console.log(JSON.stringify(manifest, undefined, 2));
    });
