/**
 * The computing thread: sessions block it while they run, so it answers nobody but its parent. Runs take turns between
 * graph calls; an exception in one ends that one only.
 */
import { parentPort, workerData } from "node:worker_threads";
import { restoreState } from "../pipelines/drawing.ts";
import { InvalidRequestError } from "../pipelines/invalid-request.ts";
import { renderPreviews } from "../pipelines/latent-preview.ts";
import { encodeCheckpoint } from "../pipelines/mar-checkpoint.ts";
import { type MarProgress, tokenCountOf } from "../pipelines/mar-sampler.ts";
import { openPipelines, toPng, warmUp } from "../pipelines/pipelines.ts";
import { prepareTextToImage, type TextToImageRequest, textToImage } from "../pipelines/text-to-image.ts";
import type { ComputeCommand, ComputeMessage, ComputeSettings, RunEvent } from "./compute-protocol.ts";

/** Checkpoints come as often as their size allows: a full one (1 MiB) every 20 s, small ones up to four times a second. */
const FULL_CHECKPOINT_BYTES = 1024 * 1024;
const FULL_CHECKPOINT_INTERVAL_MS = 20_000;
const MIN_CHECKPOINT_INTERVAL_MS = 250;
const TICK_INTERVAL_MS = 1000;

if (parentPort === null) throw new Error("compute-thread.ts runs as a worker thread");
const parent = parentPort;
const settings = workerData as ComputeSettings;
const post = (message: ComputeMessage): void => parent.postMessage(message);

let lastTick = 0;
const pipelines = openPipelines(settings.modelFolder, {
  provider: "cpu",
  threads: settings.threads,
  onRun() {
    if (performance.now() - lastTick < TICK_INTERVAL_MS) return;
    lastTick = performance.now();
    post({ kind: "tick" });
  },
});

interface Run {
  readonly controller: AbortController;
  shouldYield: boolean;
}
const runs = new Map<string, Run>();

parent.on("message", (command: ComputeCommand) => {
  switch (command.kind) {
    case "start":
      void start(command);
      return;
    case "cancel":
      runs.get(command.run)?.controller.abort();
      return;
    case "yield": {
      const run = runs.get(command.run);
      if (run !== undefined) run.shouldYield = true;
      return;
    }
  }
});

await warmUp(pipelines);
post({ kind: "ready" });

async function start({ run: id, request, checkpoint }: Extract<ComputeCommand, { kind: "start" }>): Promise<void> {
  const run: Run = { controller: new AbortController(), shouldYield: false };
  const emit = (event: RunEvent): void => post({ kind: "run", run: id, event });
  runs.set(id, run);
  try {
    await draw(request, checkpoint, run, emit);
  } catch (error) {
    emit(failureOf(error, run.controller.signal));
  } finally {
    runs.delete(id);
  }
}

async function draw(
  request: TextToImageRequest,
  checkpoint: Uint8Array | undefined,
  run: Run,
  emit: (event: RunEvent) => void,
): Promise<void> {
  const startedAt = performance.now();
  const computeMs = (): number => Math.round(performance.now() - startedAt);
  const { grid } = prepareTextToImage(pipelines, request);
  const interval = checkpointIntervalMs(request.count * tokenCountOf(grid));
  const from = checkpoint === undefined ? undefined : restoreState(pipelines.model, { ...request, grid }, checkpoint);
  let progress = { stepsDone: from?.stepsDone ?? 0, totalSteps: request.steps };
  emit({ kind: "started", ...progress });
  emit({ kind: "frame", stage: "preparing", ...progress, previews: [] });

  let savedAt = performance.now();
  const save = (state: MarProgress): void => {
    emit({ kind: "checkpoint", stepsDone: state.stepsDone, state: encodeCheckpoint(state) });
    savedAt = performance.now();
  };
  const options = { signal: run.controller.signal, ...(from === undefined ? {} : { from }) };
  for await (const event of textToImage(pipelines, request, options)) {
    if (event.kind === "image") {
      const { width, height } = event.image;
      emit({ kind: "image", index: event.index, width, height, png: await toPng(event.image) });
      continue;
    }
    const { stepsDone, totalSteps } = event.progress;
    progress = { stepsDone, totalSteps };
    const previews = await renderPreviews(event.progress, grid, pipelines.model.manifest.latentPreview);
    const isLast = stepsDone === totalSteps;
    if (run.shouldYield && !isLast) {
      save(event.progress);
      return emit({ kind: "yielded", computeMs: computeMs() });
    }
    emit({ kind: "frame", stage: isLast ? "decoding" : "drawing", ...progress, previews });
    if (!isLast && performance.now() - savedAt >= interval) save(event.progress);
  }
  emit({ kind: "done", computeMs: computeMs() });
}

function checkpointIntervalMs(tokens: number): number {
  const bytes = tokens * pipelines.model.manifest.dimensions.latentChannels * Float32Array.BYTES_PER_ELEMENT;
  return Math.max(MIN_CHECKPOINT_INTERVAL_MS, (FULL_CHECKPOINT_INTERVAL_MS * bytes) / FULL_CHECKPOINT_BYTES);
}

function failureOf(error: unknown, signal: AbortSignal): RunEvent {
  if (signal.aborted) return { kind: "failed", reason: "cancelled", message: "The attempt was cancelled." };
  if (error instanceof InvalidRequestError) return { kind: "failed", reason: "invalid", message: error.message };
  return { kind: "failed", reason: "internal", message: error instanceof Error ? error.message : String(error) };
}
