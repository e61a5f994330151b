/**
 * The computing thread: sessions block it while they run, so it answers nobody but its parent. Runs take turns between
 * graph calls; an exception in one ends that one only. Those on standby begin when the others have ended, without a word
 * from outside: the thread has no time to wait for one.
 */
import { parentPort, workerData } from "node:worker_threads";
import { InvalidRequestError } from "../pipelines/invalid-request.ts";
import { openPipelines, warmUp } from "../pipelines/pipelines.ts";
import type { Stage } from "../pipelines/stages.ts";
import { StepGroup } from "../pipelines/step-group.ts";
import type { ComputeCommand, ComputeMessage, ComputeSettings, RunEvent, StartRun } from "./compute-protocol.ts";
import { createLogger } from "./log.ts";
import { runAnswer } from "./run-answer.ts";
import type { RunControl } from "./run-control.ts";
import { runDrawing } from "./run-drawing.ts";
import { StartGate } from "./start-gate.ts";

const TICK_INTERVAL_MS = 1000;

if (parentPort === null) throw new Error("compute-thread.ts runs as a worker thread");
const parent = parentPort;
const settings = workerData as ComputeSettings;
const post = (message: ComputeMessage): void => parent.postMessage(message);

let lastTick = 0;
const pipelines = openPipelines(settings.modelFolder, {
  provider: settings.provider,
  threads: settings.threads,
  prepares: settings.prepares,
  onNotice: (notice) => createLogger(settings.logLevel).warn({ notice }, "the model was opened another way"),
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
const gate = new StartGate();

parent.on("message", (command: ComputeCommand) => {
  switch (command.kind) {
    case "start":
      startTogether(command.runs);
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

function startTogether(starts: readonly StartRun[]): void {
  const group = new StepGroup(pipelines.model);
  const drawings = starts.filter(({ task }) => task.kind !== "imageToText");
  // All of them join before the first one can ask for a step.
  const members = new Map(drawings.map(({ run }) => [run, group.join()]));
  gate.enter(starts);
  for (const each of starts) {
    const member = members.get(each.run);
    void start(each, { member, groupSize: member === undefined ? 1 : members.size }).finally(() => member?.leave());
  }
}

async function start(
  { run: id, task, checkpoint, isTraced }: StartRun,
  company: Pick<RunControl, "member" | "groupSize">,
): Promise<void> {
  const run: Run = { controller: new AbortController(), shouldYield: false };
  const { signal } = run.controller;
  const emit = (event: RunEvent): void => post({ kind: "run", run: id, event });
  const onStage = isTraced ? (stage: Stage): void => post({ kind: "stage", run: id, stage }) : undefined;
  let startedAt = performance.now();
  const turn = async (): Promise<void> => {
    await gate.turn(id, signal);
    startedAt = performance.now();
  };
  const control = { ...company, signal, checkpoint, emit, onStage, turn, shouldYield: () => run.shouldYield };
  runs.set(id, run);
  try {
    const outcome =
      task.kind === "imageToText"
        ? await runAnswer(pipelines, task.request, control)
        : await runDrawing(pipelines, task, control);
    const computeMs = Math.round(performance.now() - startedAt);
    if (outcome === "done") emit({ kind: outcome, computeMs, prompts: pipelines.prefixes.takeUse() });
    else emit({ kind: outcome, computeMs });
  } catch (error) {
    emit(failureOf(error, signal));
  } finally {
    runs.delete(id);
    gate.leave(id);
  }
}

function failureOf(error: unknown, signal: AbortSignal): RunEvent {
  if (signal.aborted) return { kind: "failed", reason: "cancelled", message: "The attempt was cancelled." };
  if (error instanceof InvalidRequestError) return { kind: "failed", reason: "invalid", message: error.message };
  return { kind: "failed", reason: "internal", message: error instanceof Error ? error.message : String(error) };
}
