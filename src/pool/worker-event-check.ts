/** Refuses what a worker must not send, before any of it is stored or passed on. */
import { type AttemptRequest, type AttemptTask, WorkerCallError, type WorkerEvent } from "./worker-call.ts";

const MAX_CHECKPOINT_BYTES = 1024 * 1024;
const MAX_PREVIEW_BYTES = 24 * 1024;
const MAX_PREVIEW_SIDE = 256;
/** Of an answer, for each token that was asked for: far more than any word has. */
const MAX_TOKEN_CHARACTERS = 128;

type EventOf<Kind extends WorkerEvent["kind"]> = Extract<WorkerEvent, { kind: Kind }>;

/** Follows the events of one attempt. */
export class WorkerEventCheck {
  private totalSteps: number | undefined;
  private answerLength = 0;
  private readonly pictures = new Set<number>();
  private readonly maxSteps: number;
  private readonly pictureCount: number;

  private readonly task: AttemptTask;
  private readonly isAhead: boolean;

  constructor({ task, group }: Pick<AttemptRequest, "task" | "group">) {
    this.task = task;
    this.isAhead = group.standby;
    this.maxSteps = task.kind === "IMAGE_TO_TEXT" ? task.maxTokens : task.drawing.steps;
    this.pictureCount = task.kind === "IMAGE_TO_TEXT" ? 0 : task.drawing.count;
  }

  /** Throws a WorkerCallError when the event does not fit the request and the events before it. */
  check(event: WorkerEvent): void {
    if (!this.isPlausible(event))
      throw new WorkerCallError("internal", `The worker broke the protocol with "${event.kind}".`);
  }

  private isPlausible(event: WorkerEvent): boolean {
    if (event.kind === "yielded" && this.isAhead) return true; // perhaps before it started
    if ((event.kind === "started") !== (this.totalSteps === undefined)) return false;
    switch (event.kind) {
      case "started":
        this.totalSteps = event.totalSteps;
        return event.totalSteps <= this.maxSteps && this.isStep(event.stepsDone);
      case "frame":
        return this.isPlausibleFrame(event);
      case "checkpoint":
        return this.isStep(event.checkpoint.stepsDone) && event.checkpoint.state.length <= MAX_CHECKPOINT_BYTES;
      case "image":
        return this.isPlausiblePicture(event);
      case "text":
        return this.isPlausibleText(event);
      case "done":
        return this.pictures.size === this.pictureCount;
      case "yielded":
        return true;
    }
  }

  private isPlausibleFrame({ stepsDone, totalSteps, previews }: EventOf<"frame">): boolean {
    return (
      totalSteps === this.totalSteps &&
      this.isStep(stepsDone) &&
      previews.every(
        ({ index, width, height, webp }) =>
          index < this.pictureCount &&
          webp.length <= MAX_PREVIEW_BYTES &&
          Math.max(width, height) <= MAX_PREVIEW_SIDE &&
          Math.min(width, height) > 0,
      )
    );
  }

  private isPlausiblePicture({ index, width, height }: EventOf<"image">): boolean {
    const { task, pictures } = this;
    if (task.kind === "IMAGE_TO_TEXT" || pictures.has(index) || index >= this.pictureCount) return false;
    pictures.add(index);
    return width === task.drawing.width && height === task.drawing.height;
  }

  private isPlausibleText({ offset, text }: EventOf<"text">): boolean {
    if (this.task.kind !== "IMAGE_TO_TEXT" || offset !== this.answerLength) return false;
    this.answerLength += text.length;
    return this.answerLength <= this.maxSteps * MAX_TOKEN_CHARACTERS;
  }

  private isStep(steps: number): boolean {
    return steps <= (this.totalSteps ?? 0);
  }
}
