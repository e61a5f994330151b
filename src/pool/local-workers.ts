/**
 * Workers as child processes of this one, each on a Unix socket in a short private folder. A child that dies is replaced;
 * every child ends when this process does, however that happens, because its standard input closes.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { StartupError } from "../platform/errors.ts";
import type { Logger } from "../platform/logger.ts";
import type { DiscoveryListener, WorkerDiscovery } from "./worker-discovery.ts";

/** Longest path of a Unix socket on Linux (108 bytes) and macOS (104), with its end. */
const MAX_SOCKET_PATH = 103;
const FOLDER_PREFIX = "atelier-workers-";
const STOP_GRACE_MS = 5000;
const RESTART_DELAYS_MS = [100, 500, 2000, 10_000];
/** A child that lived this long is restarted without delay. */
const STABLE_MS = 30_000;

export interface LocalWorkersOptions {
  /** dist/inference, where the worker's entry and the model tool are. */
  readonly inferenceFolder: string;
  readonly checkpointFolder: string;
  readonly modelFolder: string;
  readonly count: number;
  /** Of each worker; the worker decides unless given. */
  readonly threads: number | undefined;
  readonly logger: Logger;
}

export class LocalWorkers implements WorkerDiscovery {
  private readonly children = new Map<string, ChildProcess>();
  private readonly socketFolder: string;
  private listener: DiscoveryListener | undefined;
  private builder: ChildProcess | undefined;
  private isStopping = false;
  private started = 0;

  constructor(private readonly options: LocalWorkersOptions) {
    this.socketFolder = makeSocketFolder();
  }

  /** Builds the model if need be, then starts the children. */
  async start(listener: DiscoveryListener): Promise<void> {
    this.listener = listener;
    await this.buildModel();
    for (let i = 0; i < this.options.count; i++) this.launch(0);
  }

  reportStuck(name: string): void {
    this.options.logger.warn({ worker: name }, "stuck worker killed");
    this.children.get(name)?.kill("SIGKILL");
  }

  async stop(): Promise<void> {
    this.isStopping = true;
    this.builder?.kill();
    await Promise.all([...this.children.values()].map(endGently));
    rmSync(this.socketFolder, { recursive: true, force: true });
  }

  private async buildModel(): Promise<void> {
    const { inferenceFolder, checkpointFolder, modelFolder, logger } = this.options;
    const tool = join(inferenceFolder, "cli.js");
    const child = spawn(process.execPath, [tool, "build", checkpointFolder, "--out", modelFolder], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.builder = child;
    const output: Buffer[] = [];
    child.stderr.on("data", (chunk: Buffer) => output.push(chunk));
    const code = await exitOf(child);
    const text = Buffer.concat(output).toString("utf8").trim();
    if (code !== 0 && !this.isStopping)
      throw new StartupError(`The model could not be built: ${text.replace(/^model: /, "")}`);
    logger.info({ output: text }, "model ready");
  }

  private launch(failures: number): void {
    if (this.isStopping) return;
    const { inferenceFolder, modelFolder, threads, logger } = this.options;
    const name = `local-${++this.started}`;
    const socket = join(this.socketFolder, `${this.started}.sock`);
    const child = spawn(
      process.execPath,
      [
        join(inferenceFolder, "main.js"),
        "--model",
        modelFolder,
        "--listen",
        `unix:${socket}`,
        ...(threads === undefined ? [] : ["--threads", String(threads)]),
        "--ends-with-stdin",
      ],
      { stdio: ["pipe", "pipe", "pipe"] },
    );
    const launchedAt = performance.now();
    this.children.set(name, child);
    child.stderr.on("data", (chunk: Buffer) =>
      logger.warn({ worker: name, output: chunk.toString("utf8").trim() }, "worker output"),
    );
    child.on("error", (error) => logger.error({ worker: name, err: error }, "worker could not be started"));
    child.on("close", (code, signal) => {
      this.children.delete(name);
      rmSync(socket, { force: true });
      this.listener?.lost(name);
      if (this.isStopping) return;
      logger.warn({ worker: name, code, signal }, "worker ended");
      const next = performance.now() - launchedAt >= STABLE_MS ? 0 : failures + 1;
      setTimeout(() => this.launch(next), RESTART_DELAYS_MS[Math.min(next, RESTART_DELAYS_MS.length) - 1] ?? 0).unref();
    });
    logger.info({ worker: name, pid: child.pid }, "worker started");
    // Its first words are that it listens.
    child.stdout.once("data", () => this.listener?.found({ name, target: `unix:${socket}` }));
  }
}

/** Independent of where the data are: paths of Unix sockets are short. Folders of killed predecessors are removed. */
function makeSocketFolder(): string {
  for (const parent of [tmpdir(), "/tmp"]) {
    if (Buffer.byteLength(join(parent, `${FOLDER_PREFIX}4194304-XXXXXX`, "99999.sock")) > MAX_SOCKET_PATH) continue;
    for (const name of readdirSync(parent).filter((entry) => entry.startsWith(FOLDER_PREFIX))) {
      const pid = Number(name.slice(FOLDER_PREFIX.length).split("-")[0]);
      if (Number.isInteger(pid) && !isAlive(pid)) rmSync(join(parent, name), { recursive: true, force: true });
    }
    return mkdtempSync(join(parent, `${FOLDER_PREFIX}${process.pid}-`));
  }
  throw new StartupError("The temporary folder's path is too long for Unix sockets. Set TMPDIR to a short path.");
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}

async function endGently(child: ChildProcess): Promise<void> {
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), STOP_GRACE_MS);
  await exitOf(child);
  clearTimeout(timer);
}

async function exitOf(child: ChildProcess): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
  return new Promise((resolve) => {
    child.once("close", (code) => resolve(code));
    child.once("error", () => resolve(null));
  });
}
