/** A compiled inference worker that listens on loopback TCP, and is started again when it ends, as whoever runs it would do. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { freePort } from "./free-port.ts";

export interface TcpWorker {
  /** host:port, the same for every process. */
  readonly target: string;
  /** The process that runs now. */
  readonly child: ChildProcess;
  /** Processes that were started. */
  readonly started: number;
  /** Ends it for good. */
  stop(): Promise<void>;
}

export interface TcpWorkerOptions {
  readonly modelFolder: string;
  readonly environment?: NodeJS.ProcessEnv;
  readonly isRestarted?: boolean;
  /** Before another process takes the place of one that ended. @param end exit code or signal. @param log standard error */
  readonly onRestart?: (end: number | NodeJS.Signals | null, log: string) => void;
}

/** Resolves when it listens. */
export async function startTcpWorker(options: TcpWorkerOptions): Promise<TcpWorker> {
  const { isRestarted = false, onRestart = () => {} } = options;
  let isStopped = false;
  let started = 0;
  let child: ChildProcess;
  const launch = async (listen: string): Promise<string> => {
    started++;
    let log = "";
    child = launchWorker(listen, options);
    child.stderr?.on("data", (chunk: Buffer) => {
      log += chunk.toString();
    });
    child.once("close", (code, signal) => {
      if (isStopped || !isRestarted) return;
      onRestart(code ?? signal, log);
      launch(target).catch(() => {}); // it may be ended before it listens: then another one follows
    });
    return listeningOn(child, () => log);
  };
  const target = await launch(`127.0.0.1:${await freePort()}`);
  return {
    target,
    get child() {
      return child;
    },
    get started() {
      return started;
    },
    async stop() {
      isStopped = true;
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill("SIGKILL");
      await once(child, "close");
    },
  };
}

function launchWorker(listen: string, { modelFolder, environment = {} }: TcpWorkerOptions): ChildProcess {
  const settings = { MODEL_DIR: modelFolder, LISTEN: listen, WORKER_THREADS: "1", WORKER_SLOTS: "1" };
  const env = { ...process.env, ...settings, ...environment };
  return spawn(process.execPath, ["dist/inference/main.js"], { env, stdio: ["ignore", "pipe", "pipe"] });
}

/** host:port; rejects with its log where it ends instead. */
function listeningOn(child: ChildProcess, log: () => string): Promise<string> {
  return new Promise((resolve, reject) => {
    child.stdout?.once("data", (chunk: Buffer) => resolve(/listening on (\S+)/.exec(chunk.toString())?.[1] ?? ""));
    child.once("close", () => reject(new Error(log())));
  });
}
