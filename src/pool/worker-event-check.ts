/** Refuses what a worker must not send, before any of it is stored or passed on. */
import { type AttemptRequest, WorkerCallError, type WorkerEvent } from "./worker-call.ts";

const MAX_CHECKPOINT_BYTES = 1024 * 1024;
const MAX_PREVIEW_BYTES = 24 * 1024;
const MAX_PREVIEW_SIDE = 256;

type EventOf<Kind extends WorkerEvent["kind"]> = Extract<WorkerEvent, { kind: Kind }>;

/** Follows the events of one attempt. */
export class WorkerEventCheck {
  private hasStarted = false;
  private readonly pictures = new Set<number>();

  constructor(private readonly request: AttemptRequest["textToImage"]) {}

  /** Throws a WorkerCallError when the event does not fit the request and the events before it. */
  check(event: WorkerEvent): void {
    if (!this.isPlausible(event))
      throw new WorkerCallError("internal", `The worker broke the protocol with "${event.kind}".`);
  }

  private isPlausible(event: WorkerEvent): boolean {
    const isFirst = !this.hasStarted;
    this.hasStarted = true;
    if (isFirst !== (event.kind === "started")) return false;
    switch (event.kind) {
      case "started":
        return this.isStep(event.stepsDone);
      case "frame":
        return this.isPlausibleFrame(event);
      case "checkpoint":
        return this.isStep(event.checkpoint.stepsDone) && event.checkpoint.state.length <= MAX_CHECKPOINT_BYTES;
      case "image":
        return this.isPlausiblePicture(event);
      case "done":
        return this.pictures.size === this.request.count;
      case "yielded":
        return true;
    }
  }

  private isPlausibleFrame({ stepsDone, totalSteps, previews }: EventOf<"frame">): boolean {
    return (
      totalSteps === this.request.steps &&
      this.isStep(stepsDone) &&
      previews.every(
        ({ index, width, height, webp }) =>
          index < this.request.count &&
          webp.length <= MAX_PREVIEW_BYTES &&
          Math.max(width, height) <= MAX_PREVIEW_SIDE &&
          Math.min(width, height) > 0,
      )
    );
  }

  private isPlausiblePicture({ index, width, height }: EventOf<"image">): boolean {
    const { request, pictures } = this;
    if (pictures.has(index) || index >= request.count) return false;
    pictures.add(index);
    return width === request.width && height === request.height;
  }

  private isStep(steps: number): boolean {
    return steps <= this.request.steps;
  }
}
