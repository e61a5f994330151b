/** The gRPC connection to one worker: kept up until closed, and ready while the worker says that it serves. */
import { type Client, ClientError, Metadata, Status } from "nice-grpc";
import { HealthDefinition } from "nice-grpc-server-health";
import { type DescribeResponse, InferenceServiceDefinition } from "../../proto/gen/inference/v1/inference.ts";
import type { Logger } from "../platform/logger.ts";
import { beginSpan, failSpan, headersOf, SpanKind } from "../platform/tracing.ts";
import {
  type AttemptRequest,
  toCallError,
  toGenerateRequest,
  toWorkerEvent,
  WorkerCallError,
  type WorkerEvent,
} from "./worker-call.ts";
import { WorkerChannel } from "./worker-channel.ts";
import type { WorkerAddress } from "./worker-discovery.ts";
import { WorkerEventCheck } from "./worker-event-check.ts";

const RETRY_MS = 200;
const YIELD_TIMEOUT_MS = 2000;
/** A worker that cannot be reached for this long is reported. Keepalive finds a frozen one after ten seconds. */
const UNREACHABLE_MS = 10_000;
/** grpc.health.v1.HealthCheckResponse.ServingStatus */
const SERVING = 1;

const SERVICE = InferenceServiceDefinition.fullName;
const RPC = { "rpc.system": "grpc", "rpc.service": SERVICE, "rpc.method": "Generate" };

export interface ConnectionListener {
  ready(description: DescribeResponse): void;
  notReady(): void;
  /** Nothing answers any more, although nobody said that the worker is gone. */
  unreachable(): void;
}

export class WorkerConnection {
  private readonly channel: WorkerChannel;
  private readonly inference: Client<typeof InferenceServiceDefinition>;
  private readonly health: Client<typeof HealthDefinition>;
  private readonly closing = new AbortController();
  private wasRefused = false;

  constructor(
    readonly worker: WorkerAddress,
    private readonly listener: ConnectionListener,
    private readonly logger: Logger,
  ) {
    this.channel = new WorkerChannel(worker);
    this.inference = this.channel.clientOf(InferenceServiceDefinition);
    this.health = this.channel.clientOf(HealthDefinition);
    void this.keepWatching();
  }

  /** Runs one attempt. Fails with a WorkerCallError only; ends after `done` or `yielded`. Aborting cancels the attempt. */
  async *generate(request: AttemptRequest, signal: AbortSignal): AsyncGenerator<WorkerEvent> {
    let last: WorkerEvent | undefined;
    const check = new WorkerEventCheck(request);
    const [span, context] = beginSpan(`${SERVICE}/Generate`, { kind: SpanKind.CLIENT, attributes: RPC });
    const options = { signal, metadata: Metadata(headersOf(context)) };
    try {
      for await (const response of this.inference.generate(toGenerateRequest(request), options)) {
        const event = toWorkerEvent(response);
        if (event === undefined) continue;
        check.check(event);
        last = event;
        yield event;
      }
    } catch (error) {
      const failure = toCallError(error);
      if (error instanceof ClientError) span.setAttribute("rpc.grpc.status_code", error.code);
      failSpan(span, failure.reason);
      throw failure;
    } finally {
      span.end();
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
        if (!signal.aborted) this.logFailure(error);
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

  /** Workers come and go; one that is there and knows us not is a mistake in the settings. */
  private logFailure(error: unknown): void {
    const { name: worker, target } = this.worker;
    const isRefusal = error instanceof ClientError && error.code === Status.UNAUTHENTICATED;
    if (isRefusal && !this.wasRefused)
      this.logger.error({ worker, target }, "worker refuses this server: is WORKER_TOKEN the same on both sides?");
    else this.logger.debug({ worker, err: error }, "worker not reachable");
    this.wasRefused = isRefusal;
  }
}
