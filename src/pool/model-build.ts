/** Builds the workers' model in a process of its own, which ends when this one does. */
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { StartupError } from "../platform/errors.ts";
import type { Logger } from "../platform/logger.ts";
import { exitOf } from "./child-process.ts";

/** In front of the tool's words on how far it is. */
const PROGRESS = "building: ";

export interface ModelBuildOptions {
  /** The model tool's entry. */
  readonly tool: string;
  readonly checkpointFolder: string;
  readonly modelFolder: string;
  readonly dtype: string;
  readonly logger: Logger;
}

export class ModelBuild {
  private child: ChildProcess | undefined;
  private isStopped = false;

  constructor(private readonly options: ModelBuildOptions) {}

  /** Does nothing for a model that is up to date. Throws a StartupError with the tool's reason. */
  async run(): Promise<void> {
    const { tool, checkpointFolder, modelFolder, dtype, logger } = this.options;
    if (this.isStopped) return;
    const child = spawn(
      process.execPath,
      [
        ...[tool, "build", checkpointFolder, "--out", modelFolder, "--dtype", dtype],
        ...["--require-tokenizer", "--ends-with-stdin"],
      ],
      { stdio: ["pipe", "ignore", "pipe"] },
    );
    this.child = child;
    const output: string[] = [];
    const exited = exitOf(child);
    for await (const line of createInterface(child.stderr)) {
      if (line.startsWith(PROGRESS)) logger.info({ progress: line.slice(PROGRESS.length) }, "building model");
      else output.push(line);
    }
    const code = await exited;
    const text = output.join("\n").trim();
    if (this.isStopped) return;
    if (code !== 0)
      throw new StartupError(
        `The model could not be built: ${text.replace(/^model: /, "") || "the build was killed."}`,
      );
    logger.info({ output: text }, "model ready");
  }

  /** What is half built is never loadable; the next build removes it. */
  async stop(): Promise<void> {
    this.isStopped = true;
    if (this.child === undefined) return;
    this.child.kill("SIGKILL");
    await exitOf(this.child);
  }
}
