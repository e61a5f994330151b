import { execFile } from "node:child_process";

export interface CommandResult {
  /** 0, 1, …, or the signal that ended it. */
  readonly code: number | string;
  readonly output: string;
  /** Lines on standard error. */
  readonly errors: readonly string[];
}

/** Runs the compiled model command. */
export function runCommand(...args: readonly string[]): Promise<CommandResult> {
  return new Promise((resolve) => {
    execFile(process.execPath, ["dist/inference/cli.js", ...args], (error, output, stderr) =>
      resolve({
        code: error?.code ?? error?.signal ?? 0,
        output,
        errors: stderr.split("\n").filter((line) => line !== ""),
      }),
    );
  });
}
