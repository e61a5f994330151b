/** The gRPC service: slots, cancellation, yielding. What it promises stands in inference.proto. */
import { type CallContext, ServerError, Status } from "nice-grpc";
import {
  type DescribeResponse,
  type GenerateRequest,
  type GenerateResponse,
  type InferenceServiceImplementation,
  Stage,
} from "../../proto/gen/inference/v1/inference.ts";
import { type Compute, ComputeLostError } from "./compute.ts";
import type { Stage as ComputeStage, RunEvent } from "./compute-protocol.ts";
import type { Group } from "./group-arrivals.ts";
import type { Offer } from "./offer.ts";
import { taskOf } from "./task-request.ts";

const STAGES: Record<ComputeStage, Stage> = {
  preparing: Stage.PREPARING,
  drawing: Stage.DRAWING,
  decoding: Stage.DECODING,
  writing: Stage.WRITING,
};

export class InferenceService implements InferenceServiceImplementation {
  private readonly running = new Set<string>();
  private readonly idle: (() => void)[] = [];
  private isDraining = false;

  constructor(
    private readonly compute: Compute,
    private readonly offer: Offer,
  ) {}

  async describe(): Promise<DescribeResponse> {
    return this.offer.describe();
  }

  async *generate(request: GenerateRequest, { signal }: CallContext): AsyncGenerator<GenerateResponse> {
    if (this.isDraining) throw new ServerError(Status.UNAVAILABLE, "The worker is stopping.");
    const task = taskOf(request, this.offer.model);
    if (this.running.size >= this.offer.slots) throw new ServerError(Status.RESOURCE_EXHAUSTED, "No slot is free.");
    if (this.running.has(request.leaseId))
      throw new ServerError(Status.INVALID_ARGUMENT, "An attempt with this lease runs already.");
    this.running.add(request.leaseId);
    try {
      const attempt = { task, checkpoint: request.resumeFrom?.state, group: groupOf(request) };
      for await (const event of this.compute.run(request.leaseId, attempt, signal)) {
        yield toResponse(event, this.offer);
      }
    } catch (error) {
      if (error instanceof ComputeLostError) throw new ServerError(Status.UNAVAILABLE, error.message);
      throw error;
    } finally {
      this.running.delete(request.leaseId);
      if (this.running.size === 0) for (const resolve of this.idle.splice(0)) resolve();
    }
  }

  async yield({ leaseId }: { leaseId: string }): Promise<Record<string, never>> {
    if (!this.compute.requestYield(leaseId))
      throw new ServerError(Status.NOT_FOUND, "No attempt runs under this lease.");
    return {};
  }

  /** Takes nothing new, lets every running attempt yield, and resolves when all streams have ended. */
  async drain(): Promise<void> {
    this.isDraining = true;
    for (const leaseId of this.running) this.compute.requestYield(leaseId);
    if (this.running.size > 0) await new Promise<void>((resolve) => this.idle.push(resolve));
  }
}

/** An attempt of a group that the request leaves out runs alone. */
const groupOf = ({ group, leaseId }: GenerateRequest): Group => group ?? { id: leaseId, size: 1 };

function toResponse(event: RunEvent, offer: Offer): GenerateResponse {
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
      const { index, width, height, png } = event;
      return { event: { $case: "image", value: { index, size: { width, height }, mimeType: "image/png", data: png } } };
    }
    case "text":
      return { event: { $case: "text", value: { offset: event.offset, text: event.text } } };
    case "done":
      return { event: { $case: "done", value: { computeMs: BigInt(event.computeMs) } } };
    case "yielded":
      return { event: { $case: "yielded", value: { computeMs: BigInt(event.computeMs) } } };
    case "failed":
      throw new ServerError(FAILURES[event.reason], event.message);
  }
}

const FAILURES = { invalid: Status.INVALID_ARGUMENT, cancelled: Status.CANCELLED, internal: Status.INTERNAL } as const;
