/** A compiled inference worker in a process of its own, and its gRPC client over a Unix socket. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Channel, connectivityState, credentials } from "@grpc/grpc-js";
import { type Client, createClient } from "nice-grpc";
import { HealthDefinition } from "nice-grpc-server-health";
import {
  type DescribeResponse,
  type GenerateRequest,
  type GenerateResponse,
  InferenceServiceDefinition,
} from "../../proto/gen/inference/v1/inference.ts";

const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;
const CHANNEL_OPTIONS = {
  "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
  "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
  "grpc.initial_reconnect_backoff_ms": 50,
  "grpc.max_reconnect_backoff_ms": 50,
};
/** grpc.health.v1.HealthCheckResponse.ServingStatus */
const STATUSES = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];

export interface WorkerProcess {
  readonly child: ChildProcess;
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  /** What it wrote to standard error. */
  errorOutput(): string;
  describe(): Promise<DescribeResponse>;
  generate(request: GenerateRequest, signal?: AbortSignal): AsyncIterable<GenerateResponse>;
  yield(leaseId: string): Promise<unknown>;
  /** Serving statuses from now on, by name. */
  watchHealth(): AsyncIterable<string>;
  dispose(): Promise<void>;
}

/** Resolves when the worker serves. */
export async function startWorker(modelFolder: string, flags: readonly string[] = []): Promise<WorkerProcess> {
  const folder = mkdtempSync(join(tmpdir(), "aw-")); // a socket's path has at most about 100 characters
  const target = `unix:${join(folder, "s")}`;
  const child = spawn(
    process.execPath,
    [
      "dist/inference/main.js",
      "--model",
      modelFolder,
      "--listen",
      target,
      "--threads",
      "1",
      "--slots",
      "1",
      "--log-level",
      "warn",
      ...flags,
    ],
    { stdio: ["pipe", "ignore", "pipe"] },
  );
  const errors: Buffer[] = [];
  child.stderr.on("data", (chunk: Buffer) => errors.push(chunk));
  const exited = once(child, "close").then(([code, signal]) => ({ code, signal }));
  const channel = new Channel(target, credentials.createInsecure(), CHANNEL_OPTIONS);
  const inference: Client<typeof InferenceServiceDefinition> = createClient(InferenceServiceDefinition, channel);
  const health = createClient(HealthDefinition, channel);
  const worker: WorkerProcess = {
    child,
    exited,
    errorOutput: () => Buffer.concat(errors).toString(),
    describe: () => inference.describe({}),
    generate: (request, signal) => inference.generate(request, signal === undefined ? {} : { signal }),
    yield: (leaseId) => inference.yield({ leaseId }),
    async *watchHealth() {
      for await (const { status } of health.watch({ service: "" })) yield STATUSES[status ?? 0] ?? "?";
    },
    async dispose() {
      child.kill("SIGKILL");
      await exited;
      channel.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
  const failed = exited.then(() => Promise.reject(new Error(`The worker did not start: ${worker.errorOutput()}`)));
  failed.catch(() => undefined);
  try {
    await Promise.race([serves(worker, channel), failed]);
  } catch (error) {
    await worker.dispose();
    throw error;
  }
  return worker;
}

async function serves(worker: WorkerProcess, channel: Channel): Promise<void> {
  for (;;) {
    const state = channel.getConnectivityState(true);
    if (state === connectivityState.READY) break;
    await new Promise((resolve) => channel.watchConnectivityState(state, Number.POSITIVE_INFINITY, resolve));
  }
  for await (const status of worker.watchHealth()) if (status === "SERVING") return;
}
