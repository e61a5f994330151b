/** `model pull`. */
import { SingleBar } from "cli-progress";
import { Command, Option } from "commander";
import { pullFiles } from "../hub/pull.ts";
import { DEFAULT_ENDPOINT, listFiles } from "../hub/repository.ts";

interface PullFlags {
  readonly out: string;
  readonly revision: string;
  readonly endpoint: string;
  readonly token?: string;
}

export const pullCommand = (): Command =>
  new Command("pull")
    .description("download a checkpoint from the Hugging Face hub; goes on where it was interrupted")
    .argument("<repository>", "such as Skywork/Skywork-UniPic-1.5B")
    .requiredOption("--out <checkpoint folder>", "where it goes")
    .option("--revision <name>", "branch, tag or commit", "main")
    .addOption(
      new Option("--endpoint <url>", "the hub, or a mirror of it").env("HF_ENDPOINT").default(DEFAULT_ENDPOINT),
    )
    .addOption(new Option("--token <token>", "for what is not public; better given as the variable").env("HF_TOKEN"))
    .action(pull);

async function pull(repository: string, { out, revision, endpoint, token }: PullFlags): Promise<void> {
  const hub = { endpoint: endpoint.replace(/\/+$/, ""), token: token || undefined };
  const files = await listFiles(hub, repository, revision);
  const total = files.reduce((sum, { size }) => sum + size, 0);
  const megabytes = (bytes: number): number => Math.floor(bytes / 1e6);
  const bar = new SingleBar({ format: "{bar} {value}/{total} MB | {eta_formatted} left", stream: process.stderr });
  bar.start(megabytes(total), 0);
  try {
    const onProgress = (bytes: number): void => bar.update(megabytes(bytes));
    await pullFiles(hub, files, { folder: out, onProgress, signal: new AbortController().signal });
  } finally {
    bar.stop();
  }
  console.error(
    `${files.length} files in ${out}. Build the model: npm run atelier -- model build ${out} --out <model folder>`,
  );
}
