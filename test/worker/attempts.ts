import { type ClientError, Status } from "nice-grpc";
import { afterAll, beforeAll, expect, onTestFinished } from "vitest";
import {
  type Checkpoint,
  type Drawing,
  type GenerateRequest,
  type GenerateResponse,
  type Group,
  GuidanceSchedule,
  Speed,
} from "../../proto/gen/inference/v1/inference.ts";
import { openTinyModel, type TinyModel } from "../support/tiny-model.ts";
import { startWorker, type WorkerProcess } from "../support/worker-process.ts";

export type AttemptEvent = NonNullable<GenerateResponse["event"]>;
type EventOf<Case extends AttemptEvent["$case"]> = Extract<AttemptEvent, { $case: Case }>["value"];

/** A drawing from text. */
export type TextTask = Drawing & { readonly prompt: string };

export const SHORT: TextTask = {
  prompt: "a red circle at the top left",
  unconditionalPrompt: "Generate an image.",
  size: { width: 96, height: 96 },
  count: 1,
  steps: 6,
  guidanceScale: 3,
  guidanceSchedule: GuidanceSchedule.CONSTANT,
  temperature: 1,
  speed: Speed.EXACT,
  seed: 7n,
};

/** Long enough to be interrupted at its second step or so: there are 34 left then. */
export const LONG: TextTask = { ...SHORT, count: 2, steps: 36 };

let lastLease = 0;

/** An attempt under a lease of its own. */
export function requestOf(
  { prompt, ...drawing }: TextTask,
  { resumeFrom, group }: { resumeFrom?: Checkpoint; group?: Group } = {},
): GenerateRequest {
  const request = attemptOf({ $case: "textToImage", value: { prompt, drawing } }, resumeFrom);
  return group === undefined ? request : { ...request, group };
}

export function attemptOf(task: GenerateRequest["task"], resumeFrom?: Checkpoint): GenerateRequest {
  const leaseId = `lease-${++lastLease}`;
  return { leaseId, preset: "tiny", group: { id: leaseId, size: 1, standby: false }, resumeFrom, task };
}

export interface Attempt {
  readonly events: readonly AttemptEvent[];
  of<Case extends AttemptEvent["$case"]>(kind: Case): readonly EventOf<Case>[];
  /** How the stream ended, unless it ended well. */
  readonly error: ClientError | undefined;
}

/** Reads a stream to its end. @param onEvent called with every event, and awaited */
export async function collect(
  stream: AsyncIterable<GenerateResponse>,
  onEvent: (event: AttemptEvent) => unknown = () => {},
): Promise<Attempt> {
  const events: AttemptEvent[] = [];
  let error: ClientError | undefined;
  try {
    for await (const { event } of stream) {
      events.push(event!);
      await onEvent(event!);
    }
  } catch (reason) {
    error = reason as ClientError;
  }
  return {
    events,
    error,
    of: <Case extends AttemptEvent["$case"]>(kind: Case) =>
      events.filter(({ $case }) => $case === kind).map(({ value }) => value as EventOf<Case>),
  };
}

/** Calls `act` once, at the first frame of at least this many steps. */
export function atStep(steps: number, act: () => unknown): (event: AttemptEvent) => unknown {
  let isDone = false;
  return (event) => {
    if (isDone || event.$case !== "frame" || event.value.stepsDone < steps) return undefined;
    isDone = true;
    return act();
  };
}

/** Fails the test unless the stream ended well. */
export function expectEnd(attempt: Attempt, last: "done" | "yielded"): void {
  expect(attempt.error).toBeUndefined();
  expect(attempt.events.at(-1)?.$case).toBe(last);
}

/** PNG files of an attempt, as text to compare. */
export const picturesOf = (attempt: Attempt): readonly string[] =>
  attempt.of("image").map(({ data }) => Buffer.from(data).toString("base64"));

export const codeOf = ({ error }: Attempt): string | undefined =>
  error === undefined ? undefined : Status[error.code];

export interface TinyWorkers {
  readonly folder: string;
  /** A worker of the test's own, which may end it. */
  start(flags?: readonly string[]): Promise<WorkerProcess>;
  /** The worker that all tests of the file share; started by the first one. */
  shared(flags?: readonly string[]): Promise<WorkerProcess>;
}

/** Builds the tiny preset once for a file of tests, and serves it. */
export function useTinyWorkers(): TinyWorkers {
  let model: TinyModel;
  const sharedWorkers = new Map<string, Promise<WorkerProcess>>();
  beforeAll(async () => {
    model = openTinyModel();
  });
  afterAll(async () => {
    for (const worker of sharedWorkers.values()) await (await worker).dispose();
    model.remove();
  });
  return {
    get folder() {
      return model.folder;
    },
    async start(flags) {
      const worker = await startWorker(model.folder, flags);
      onTestFinished(() => worker.dispose());
      return worker;
    },
    shared(flags = []) {
      const worker = sharedWorkers.get(flags.join()) ?? startWorker(model.folder, flags);
      sharedWorkers.set(flags.join(), worker);
      return worker;
    },
  };
}
