/**
 * Workers as child processes of this one, each on a Unix socket in a short private folder. A child that dies is replaced;
 * every child ends when this process does, however that happens, because its standard input closes.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type Logger, relay } from "../platform/logger.ts";
import { exitOf } from "./child-process.ts";
import { ModelBuild } from "./model-build.ts";
import { makeSocketFolder, type SocketFolder } from "./socket-folder.ts";
import type { DiscoveryListener, WorkerDiscovery } from "./worker-discovery.ts";

const STOP_GRACE_MS = 5000;
const RESTART_DELAYS_MS = [100, 500, 2000, 10_000];
/** A child that lived this long is restarted without delay. */
const STABLE_MS = 30_000;

export interface LocalWorkersOptions {
  /** dist/inference, where the worker's entry and the model tool are. */
  readonly inferenceFolder: string;
  readonly checkpointFolder: string;
  readonly modelFolder: string;
  /** Of the model; another one than it was built in builds it anew. */
  readonly dtype: string;
  readonly count: number;
  /** Of each worker; the worker decides unless given. */
  readonly threads: number | undefined;
  /** Of each worker; the worker decides unless given. */
  readonly slots: number | undefined;
  readonly provider: string;
  readonly logger: Logger;
}

export class LocalWorkers implements WorkerDiscovery {
  readonly areElsewhere = false;
  private readonly children = new Map<string, ChildProcess>();
  private readonly sockets: SocketFolder;
  private readonly build: ModelBuild;
  private listener: DiscoveryListener | undefined;
  private isStopping = false;
  private started = 0;

  constructor(private readonly options: LocalWorkersOptions) {
    this.sockets = makeSocketFolder();
    this.build = new ModelBuild({ ...options, tool: join(options.inferenceFolder, "cli.js") });
  }

  /** Builds the model if need be, then starts the children. */
  async start(listener: DiscoveryListener): Promise<void> {
    this.listener = listener;
    await this.build.run();
    for (let i = 0; i < this.options.count; i++) this.launch(0);
  }

  reportStuck(name: string): void {
    this.options.logger.warn({ worker: name }, "stuck worker killed");
    this.children.get(name)?.kill("SIGKILL");
  }

  async stop(): Promise<void> {
    this.isStopping = true;
    await Promise.all([this.build.stop(), ...[...this.children.values()].map(endGently)]);
    this.sockets.remove();
  }

  private launch(failures: number): void {
    if (this.isStopping) return;
    const { inferenceFolder, modelFolder, threads, slots, provider, logger } = this.options;
    const name = `local-${++this.started}`;
    const socket = join(this.sockets.path, `${this.started}.sock`);
    const child = spawn(
      process.execPath,
      [
        join(inferenceFolder, "main.js"),
        "--model",
        modelFolder,
        "--listen",
        `unix:${socket}`,
        "--provider",
        provider,
        ...(threads === undefined ? [] : ["--threads", String(threads)]),
        ...(slots === undefined ? [] : ["--slots", String(slots)]),
        "--log-level",
        logger.isLevelEnabled("debug") ? "info" : "warn", // of attempts, the dispatcher tells more
        "--ends-with-stdin",
      ],
      { stdio: ["pipe", "pipe", "pipe"] },
    );
    const launchedAt = performance.now();
    this.children.set(name, child);
    createInterface(child.stderr).on("line", (line) => relay(logger, line, { worker: name }));
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

async function endGently(child: ChildProcess): Promise<void> {
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), STOP_GRACE_MS);
  await exitOf(child);
  clearTimeout(timer);
}
