import { type ChildProcess, spawn } from "node:child_process";

export interface CommandOptions {
  readonly cwd?: string;
  readonly environment?: NodeJS.ProcessEnv;
}

/** The compiled command line as a process of its own, without a terminal. */
export class Command {
  /** Of both standard streams. */
  output = "";
  standardOutput = "";
  private readonly child: ChildProcess;
  private readonly closed: Promise<number | string>;

  constructor(args: readonly string[], { cwd = process.cwd(), environment = {} }: CommandOptions = {}) {
    const { npm_lifecycle_event: _, INIT_CWD: __, DATA_DIR: ___, ...inherited } = process.env;
    this.child = spawn(process.execPath, [`${process.cwd()}/dist/src/cli.js`, ...args], {
      cwd,
      env: { ...inherited, ...environment },
      stdio: ["ignore", "pipe", "pipe"],
    });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.on("data", (chunk: Buffer) => {
        this.output += chunk.toString("utf8");
      });
    }
    this.child.stdout?.on("data", (chunk: Buffer) => {
      this.standardOutput += chunk.toString("utf8");
    });
    this.closed = new Promise((resolve) => this.child.on("close", (code, signal) => resolve(code ?? signal ?? "?")));
  }

  /** The exit code, or the signal that ended it. */
  ended(): Promise<number | string> {
    return this.closed;
  }

  kill(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  get isRunning(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }
}

/** Runs a command to its end. */
export async function runCommand(
  args: readonly string[],
  options?: CommandOptions,
): Promise<{ code: number | string; output: string }> {
  const command = new Command(args, options);
  const code = await command.ended();
  return { code, output: command.output };
}
