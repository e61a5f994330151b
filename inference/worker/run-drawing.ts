/** A drawing task on the computing thread: frames with previews, checkpoints, pictures. */
import type { DrawingEvent } from "../pipelines/drawing.ts";
import { imageEdit } from "../pipelines/image-edit.ts";
import { imageVariation } from "../pipelines/image-variation.ts";
import { renderPreviews } from "../pipelines/latent-preview.ts";
import { encodeCheckpoint } from "../pipelines/mar-checkpoint.ts";
import { type MarProgress, tokenCountOf } from "../pipelines/mar-sampler.ts";
import { type Pipelines, readPicture } from "../pipelines/pipelines.ts";
import { textToImage } from "../pipelines/text-to-image.ts";
import type { Task } from "./compute-protocol.ts";
import type { Outcome, RunControl } from "./run-control.ts";

export type DrawingTask = Extract<Task, { kind: "textToImage" | "imageEdit" | "imageVariation" }>;

/** Checkpoints come as often as their size allows: a full one (1 MiB) every 20 s, small ones up to four times a second. */
const FULL_CHECKPOINT_BYTES = 1024 * 1024;
const FULL_CHECKPOINT_INTERVAL_MS = 20_000;
const MIN_CHECKPOINT_INTERVAL_MS = 250;

export async function runDrawing(pipelines: Pipelines, task: DrawingTask, control: RunControl): Promise<Outcome> {
  const { latentChannels } = pipelines.model.manifest.dimensions;
  const { emit } = control;
  let interval = MIN_CHECKPOINT_INTERVAL_MS;
  let grid = { rows: 0, columns: 0 };
  let savedAt = performance.now();
  const save = (state: MarProgress): void => {
    emit({ kind: "checkpoint", stepsDone: state.stepsDone, state: encodeCheckpoint(state) });
    savedAt = performance.now();
  };
  for await (const event of await eventsOf(pipelines, task, control)) {
    switch (event.kind) {
      case "started": {
        await control.turn();
        const { stepsDone, totalSteps } = event;
        grid = event.grid;
        const bytes = task.request.count * tokenCountOf(grid) * latentChannels * Float32Array.BYTES_PER_ELEMENT;
        interval = Math.max(MIN_CHECKPOINT_INTERVAL_MS, (FULL_CHECKPOINT_INTERVAL_MS * bytes) / FULL_CHECKPOINT_BYTES);
        emit({ kind: "started", stepsDone, totalSteps, groupSize: control.groupSize });
        emit({ kind: "frame", stage: "preparing", stepsDone, totalSteps, previews: [] });
        break;
      }
      case "step": {
        const { stepsDone, totalSteps } = event.progress;
        const isLast = stepsDone === totalSteps;
        if (control.shouldYield() && !isLast) {
          save(event.progress);
          return "yielded";
        }
        const previews = await renderPreviews(event.progress, grid, pipelines.model.manifest.latentPreview);
        emit({ kind: "frame", stage: isLast ? "decoding" : "drawing", stepsDone, totalSteps, previews });
        if (!isLast && performance.now() - savedAt >= interval) save(event.progress);
        break;
      }
      case "image":
        emit(event);
    }
  }
  return "done";
}

async function eventsOf(
  pipelines: Pipelines,
  task: DrawingTask,
  { signal, checkpoint, member, onStage }: RunControl,
): Promise<AsyncIterable<DrawingEvent>> {
  const options = { signal, from: checkpoint, member, onStage };
  switch (task.kind) {
    case "textToImage":
      return textToImage(pipelines, task.request, options);
    case "imageEdit": {
      const { source, mask, ...settings } = task.request;
      const pictures = mask === undefined ? {} : { mask: await readPicture(mask) };
      return imageEdit(pipelines, { ...settings, ...pictures, source: await readPicture(source) }, options);
    }
    case "imageVariation": {
      const source = await readPicture(task.request.source);
      return imageVariation(pipelines, { ...task.request, source }, options);
    }
  }
}
