/** The server as users run it: a process of its own, started from dist/. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Credentials } from "../../src/bootstrap.ts";
import { GraphqlClient } from "./graphql-client.ts";
import { copyTemplate } from "./template-data.ts";

export class ServerProcess {
  private output = "";

  private constructor(
    private readonly child: ChildProcess,
    readonly dataDir: string,
  ) {
    child.stderr?.on("data", (chunk: Buffer) => {
      this.output += chunk.toString("utf8");
    });
  }

  /** Starts a server and waits until it is ready. */
  static async start(dataDir: string, environment: NodeJS.ProcessEnv = {}): Promise<ServerProcess> {
    const server = ServerProcess.launch(dataDir, environment);
    await server.says("Atelier is ready");
    return server;
  }

  static launch(dataDir: string, environment: NodeJS.ProcessEnv = {}): ServerProcess {
    const { NODE_ENV: _, ...inherited } = process.env; // libraries behave differently under "test"
    const env = { ...inherited, PORT: "0", DATA_DIR: dataDir, WORKER_THREADS: "1", ...environment };
    const child = spawn(process.execPath, ["--enable-source-maps", "dist/src/main.js"], {
      env,
      stdio: ["ignore", "ignore", "pipe"],
      detached: true, // a process group of its own, as in a terminal
    });
    return new ServerProcess(child, dataDir);
  }

  get pid(): number {
    return this.child.pid!;
  }

  get log(): string {
    return this.output;
  }

  /** Of a member. */
  get client(): GraphqlClient {
    const { url, apiKey } = this.credentials;
    return new GraphqlClient(url, apiKey);
  }

  /** Of the administrator. */
  get owner(): GraphqlClient {
    const { url, adminApiKey } = this.credentials;
    return new GraphqlClient(url, adminApiKey);
  }

  private get credentials(): Credentials {
    return JSON.parse(readFileSync(join(this.dataDir, "credentials.json"), "utf8"));
  }

  /** Process ids of its children. */
  get childPids(): number[] {
    const pids = readFileSync(`/proc/${this.pid}/task/${this.pid}/children`, "utf8").trim();
    return pids === "" ? [] : pids.split(" ").map(Number);
  }

  /** What Ctrl-C in a terminal does: every process of the group gets the signal. */
  interrupt(): void {
    process.kill(-this.pid, "SIGINT");
  }

  /** The process ids of its workers, in the order of their start. */
  get workerPids(): number[] {
    return this.logged("worker started").map(({ pid }) => pid);
  }

  /** Log records with this message. */
  logged(message: string): any[] {
    const records = this.output.split("\n").filter((line) => line.startsWith("{"));
    return records.map((line) => JSON.parse(line)).filter(({ msg }) => msg === message);
  }

  /** Resolves when the server has said something; rejects when it ends without. */
  async says(text: string): Promise<void> {
    while (!this.output.includes(text)) {
      if (this.child.exitCode !== null || this.child.signalCode !== null)
        throw new Error(`the server ended without saying "${text}":\n${this.output}`);
      await this.saysMore();
    }
  }

  /** Resolves when the server says anything more, or ends. */
  async saysMore(): Promise<void> {
    await new Promise<void>((resolve) => {
      const done = (): void => {
        this.child.stderr?.off("data", done);
        this.child.off("close", done);
        resolve();
      };
      this.child.stderr?.on("data", done);
      this.child.on("close", done);
    });
  }

  /** Sends a signal and waits for the end; the exit code, or the signal that ended it. */
  async end(signal: NodeJS.Signals): Promise<number | NodeJS.Signals | null> {
    this.child.kill(signal);
    return this.ended();
  }

  async ended(): Promise<number | NodeJS.Signals | null> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      await new Promise((resolve) => this.child.once("close", resolve));
    }
    return this.child.exitCode ?? this.child.signalCode;
  }
}

/** A copy of a template, or an empty folder. */
export function temporaryFolder(template?: string): { path: string; remove(): void } {
  const path = template === undefined ? mkdtempSync(join(tmpdir(), "atelier-server-")) : copyTemplate(template);
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** Whether a process runs; one that ended and was not reaped does not. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return !["Z", "X"].includes(stat.slice(stat.lastIndexOf(")") + 2, stat.lastIndexOf(")") + 3));
  } catch {
    return false;
  }
}
