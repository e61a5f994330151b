/** The gRPC service: slots, standby, cancellation, yielding. What it promises stands in inference.proto. */
import { type CallContext, ServerError, Status } from "nice-grpc";
import {
  type DescribeResponse,
  type GenerateRequest,
  type GenerateResponse,
  type InferenceServiceImplementation,
  Stage,
} from "../../proto/gen/inference/v1/inference.ts";
import { toPng } from "../pipelines/pipelines.ts";
import type { Stage as RunStage } from "../pipelines/stages.ts";
import { AttemptLog } from "./attempt-log.ts";
import { type Compute, ComputeLostError } from "./compute.ts";
import type { Stage as ComputeStage, RunEvent } from "./compute-protocol.ts";
import type { Group } from "./group-arrivals.ts";
import type { Logger } from "./log.ts";
import type { Offer } from "./offer.ts";
import { taskOf } from "./task-request.ts";
import { RunTrace } from "./tracing.ts";

const STAGES: Record<ComputeStage, Stage> = {
  preparing: Stage.PREPARING,
  drawing: Stage.DRAWING,
  decoding: Stage.DECODING,
  writing: Stage.WRITING,
};

/** An attempt that nobody waits for ends within a step; the server takes a worker for stuck after as long. */
const ABANDONED_MS = 120_000;

export class InferenceService implements InferenceServiceImplementation {
  /** Attempts that have a slot. */
  private readonly running = new Set<string>();
  /** Attempts that wait for the others to end, with their group. */
  private readonly standby = new Map<string, string>();
  private readonly idle: (() => void)[] = [];
  private isDraining = false;

  constructor(
    private readonly compute: Compute,
    private readonly offer: Offer,
    private readonly logger: Logger,
    /** An attempt that nobody waits for any more does not end. */
    private readonly onStuck: () => void,
  ) {}

  async describe(): Promise<DescribeResponse> {
    return this.offer.describe();
  }

  async *generate(request: GenerateRequest, context: CallContext): AsyncGenerator<GenerateResponse> {
    const { leaseId, preset } = request;
    const trace = new RunTrace(context, { "atelier.lease.id": leaseId, "atelier.preset": preset });
    const log = new AttemptLog(this.logger, { leaseId, preset, group: groupOf(request).id, ...trace.ids });
    try {
      yield* this.run(request, context, { trace, log });
    } catch (error) {
      log.fail(error);
      const code = error instanceof ServerError ? error.code : undefined;
      trace.fail(code === undefined ? "unknown" : (Status[code] ?? "unknown"), code);
      throw error;
    } finally {
      log.end();
      trace.end();
    }
  }

  private async *run(
    request: GenerateRequest,
    { signal }: CallContext,
    { trace, log }: { readonly trace: RunTrace; readonly log: AttemptLog },
  ): AsyncGenerator<GenerateResponse> {
    if (this.isDraining) throw new ServerError(Status.UNAVAILABLE, "The worker is stopping.");
    const task = taskOf(request, this.offer.model);
    const { leaseId } = request;
    const group = groupOf(request);
    this.admit(leaseId, group);
    let watchdog: NodeJS.Timeout | undefined;
    signal.addEventListener("abort", () => {
      watchdog = setTimeout(this.onStuck, ABANDONED_MS).unref();
    });
    try {
      const onStage = trace.isRecording ? (stage: RunStage) => trace.note(stage) : undefined;
      const attempt = { task, checkpoint: request.resumeFrom?.state, group, onStage };
      for await (const event of this.compute.run(leaseId, attempt, signal)) {
        if (this.standby.delete(leaseId)) this.running.add(leaseId);
        if (event.kind === "started") trace.start(event);
        log.note(event);
        const respond = (): Promise<GenerateResponse> => toResponse(event, this.offer);
        yield event.kind === "image" ? await trace.during("encode picture", respond) : await respond();
      }
    } catch (error) {
      if (error instanceof ComputeLostError) throw new ServerError(Status.UNAVAILABLE, error.message);
      throw error;
    } finally {
      clearTimeout(watchdog);
      this.standby.delete(leaseId);
      this.running.delete(leaseId);
      if (this.isIdle) for (const resolve of this.idle.splice(0)) resolve();
    }
  }

  /** Takes a slot, or a place on standby, for an attempt. */
  private admit(leaseId: string, group: Group & { readonly standby: boolean }): void {
    const { slots, standby } = this.offer.capacity;
    if (this.running.has(leaseId) || this.standby.has(leaseId))
      throw new ServerError(Status.INVALID_ARGUMENT, "An attempt with this lease runs already.");
    if (group.standby && !this.isIdle) {
      const taken = [...this.standby.values()];
      if (standby === 0 || taken.length >= slots || taken.some((id) => id !== group.id))
        throw new ServerError(Status.RESOURCE_EXHAUSTED, "The standby is taken.");
      this.standby.set(leaseId, group.id);
      return;
    }
    if (this.running.size >= slots) throw new ServerError(Status.RESOURCE_EXHAUSTED, "No slot is free.");
    this.running.add(leaseId);
  }

  private get isIdle(): boolean {
    return this.running.size + this.standby.size === 0;
  }

  async yield({ leaseId }: { leaseId: string }): Promise<Record<string, never>> {
    if (!this.compute.requestYield(leaseId))
      throw new ServerError(Status.NOT_FOUND, "No attempt runs under this lease.");
    return {};
  }

  /** Takes nothing new, lets every attempt yield, and resolves when all streams have ended. */
  async drain(): Promise<void> {
    this.isDraining = true;
    for (const leaseId of [...this.standby.keys(), ...this.running]) this.compute.requestYield(leaseId);
    if (!this.isIdle) await new Promise<void>((resolve) => this.idle.push(resolve));
  }
}

/** An attempt of a group that the request leaves out runs alone. */
const groupOf = ({ group, leaseId }: GenerateRequest): Group & { readonly standby: boolean } =>
  group ?? { id: leaseId, size: 1, standby: false };

/** Pictures are encoded here: the computing thread has the next ones to compute. */
async function toResponse(event: RunEvent, offer: Offer): Promise<GenerateResponse> {
  switch (event.kind) {
    case "started": {
      const { stepsDone, totalSteps } = event;
      return { event: { $case: "started", value: { stepsDone, totalSteps, recipe: offer.recipe(event) } } };
    }
    case "frame": {
      const { stage, stepsDone, totalSteps } = event;
      const previews = event.previews.map((preview, index) => ({ index, ...preview }));
      return { event: { $case: "frame", value: { stage: STAGES[stage], stepsDone, totalSteps, previews } } };
    }
    case "checkpoint":
      return { event: { $case: "checkpoint", value: { stepsDone: event.stepsDone, state: event.state } } };
    case "image": {
      const { index, image } = event;
      const { width, height } = image;
      const data = await toPng(image);
      return { event: { $case: "image", value: { index, size: { width, height }, mimeType: "image/png", data } } };
    }
    case "text":
      return { event: { $case: "text", value: { offset: event.offset, text: event.text } } };
    case "done": {
      const { computeMs, prompts } = event;
      const value = { computeMs: BigInt(computeMs), promptsRead: prompts.read, promptsKnown: prompts.known };
      return { event: { $case: "done", value } };
    }
    case "yielded":
      return { event: { $case: "yielded", value: { computeMs: BigInt(event.computeMs) } } };
    case "failed":
      throw new ServerError(FAILURES[event.reason], event.message);
  }
}

const FAILURES = { invalid: Status.INVALID_ARGUMENT, cancelled: Status.CANCELLED, internal: Status.INTERNAL } as const;
