/** The gRPC connection to one worker: kept up until closed, and ready while the worker says that it serves. */
import { Channel, credentials } from "@grpc/grpc-js";
import { type Client, createClient } from "nice-grpc";
import { HealthDefinition } from "nice-grpc-server-health";
import { type DescribeResponse, InferenceServiceDefinition } from "../../proto/gen/inference/v1/inference.ts";
import type { Logger } from "../platform/logger.ts";
import {
  type AttemptRequest,
  toCallError,
  toGenerateRequest,
  toWorkerEvent,
  WorkerCallError,
  type WorkerEvent,
} from "./worker-call.ts";
import type { WorkerAddress } from "./worker-discovery.ts";
import { WorkerEventCheck } from "./worker-event-check.ts";

const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;
const CHANNEL_OPTIONS = {
  "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
  "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
  "grpc.keepalive_time_ms": 5000,
  "grpc.keepalive_timeout_ms": 5000,
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 1000,
};
const RETRY_MS = 200;
const YIELD_TIMEOUT_MS = 2000;
/** A worker that cannot be reached for this long is reported. Keepalive finds a frozen one after ten seconds. */
const UNREACHABLE_MS = 10_000;
/** grpc.health.v1.HealthCheckResponse.ServingStatus */
const SERVING = 1;

export interface ConnectionListener {
  ready(description: DescribeResponse): void;
  notReady(): void;
  /** Nothing answers any more, although nobody said that the worker is gone. */
  unreachable(): void;
}

export class WorkerConnection {
  private readonly channel: Channel;
  private readonly inference: Client<typeof InferenceServiceDefinition>;
  private readonly health: Client<typeof HealthDefinition>;
  private readonly closing = new AbortController();

  constructor(
    readonly worker: WorkerAddress,
    private readonly listener: ConnectionListener,
    private readonly logger: Logger,
  ) {
    // nice-grpc's own createChannel would append a port to the path of a Unix socket.
    this.channel = new Channel(worker.target, credentials.createInsecure(), CHANNEL_OPTIONS);
    this.inference = createClient(InferenceServiceDefinition, this.channel);
    this.health = createClient(HealthDefinition, this.channel);
    void this.keepWatching();
  }

  /** Runs one attempt. Fails with a WorkerCallError only; ends after `done` or `yielded`. Aborting cancels the attempt. */
  async *generate(request: AttemptRequest, signal: AbortSignal): AsyncGenerator<WorkerEvent> {
    let last: WorkerEvent | undefined;
    const check = new WorkerEventCheck(request.task);
    try {
      for await (const response of this.inference.generate(toGenerateRequest(request), { signal })) {
        const event = toWorkerEvent(response);
        if (event === undefined) continue;
        check.check(event);
        last = event;
        yield event;
      }
    } catch (error) {
      throw toCallError(error);
    }
    if (last?.kind !== "done" && last?.kind !== "yielded")
      throw new WorkerCallError("lost", "The stream ended in the middle.");
  }

  /** Asks an attempt to stop at its next step; that it does shows in its stream. */
  async requestYield(leaseId: string): Promise<void> {
    await this.inference.yield({ leaseId }, { signal: AbortSignal.timeout(YIELD_TIMEOUT_MS) });
  }

  close(): void {
    this.closing.abort();
    this.channel.close();
  }

  private async keepWatching(): Promise<void> {
    const { signal } = this.closing;
    let lostAt: number | undefined;
    while (!signal.aborted) {
      try {
        for await (const { status } of this.health.watch({ service: "" }, { signal })) {
          lostAt = undefined;
          if (status === SERVING) this.listener.ready(await this.inference.describe({}, { signal }));
          else this.listener.notReady();
        }
      } catch (error) {
        if (!signal.aborted) this.logger.debug({ worker: this.worker.name, err: error }, "worker not reachable");
      }
      if (signal.aborted) return;
      this.listener.notReady();
      lostAt ??= performance.now();
      if (performance.now() - lostAt >= UNREACHABLE_MS) {
        lostAt = undefined;
        this.listener.unreachable();
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}
