/** The computing thread as its parent sees it. */
import { Worker } from "node:worker_threads";
import type { OnStage } from "../pipelines/stages.ts";
import {
  type ComputeCommand,
  type ComputeMessage,
  type ComputeSettings,
  isLastEvent,
  type RunEvent,
  type StartRun,
  type Task,
} from "./compute-protocol.ts";
import { EventQueue } from "./event-queue.ts";
import { type Group, GroupArrivals } from "./group-arrivals.ts";

/** The computing thread is gone; another worker can go on. */
export class ComputeLostError extends Error {
  override readonly name = "ComputeLostError";
}

const CANCELLED: RunEvent = { kind: "failed", reason: "cancelled", message: "The attempt was cancelled." };

/** While a run waits for its next event, this often it looks whether the thread still ticks. */
const PULSE_MS = 5000;

interface AttemptToRun {
  readonly task: Task;
  readonly checkpoint: Uint8Array | undefined;
  readonly group: Group & { readonly standby: boolean };
  /** Told of its stages; nobody is unless given. */
  readonly onStage?: OnStage | undefined;
}

interface Run {
  readonly queue: EventQueue;
  readonly group: Group;
  /** On standby, as far as is known: nothing was heard of it yet. */
  isWaiting: boolean;
  readonly onStage: OnStage | undefined;
}

export class Compute {
  private readonly runs = new Map<string, Run>();
  private readonly arrivals = new GroupArrivals<StartRun>((runs) => this.send({ kind: "start", runs }));
  private lastSign = performance.now();
  private failure: ComputeLostError | undefined;

  private constructor(private readonly thread: Worker) {}

  /** Starts the thread and waits until its sessions are open. */
  static async start(settings: ComputeSettings, onLost: (error: ComputeLostError) => void): Promise<Compute> {
    const thread = new Worker(new URL("./compute-thread.js", import.meta.url), { workerData: settings });
    const compute = new Compute(thread);
    return new Promise((resolve, reject) => {
      thread.on("message", (message: ComputeMessage) => {
        if (message.kind === "ready") resolve(compute);
        compute.receive(message);
      });
      const lose = (cause: unknown): void => {
        if (compute.failure !== undefined) return;
        compute.failure = new ComputeLostError("The computing thread ended.", { cause });
        reject(cause);
        onLost(compute.failure);
      };
      thread.on("error", lose);
      thread.on("exit", (code) => lose(new Error(`the computing thread exited with code ${code}`)));
    });
  }

  /**
   * Runs one attempt, as soon as its group is there; on standby, once the others have ended. While nothing new happens but the thread lives, the newest
   * frame comes again, without previews, every five seconds. Ends after `done`, `yielded` or `failed`; leaving early cancels the run.
   */
  async *run(
    id: string,
    { task, checkpoint, group, onStage }: AttemptToRun,
    signal: AbortSignal,
  ): AsyncGenerator<RunEvent> {
    const queue = new EventQueue();
    const run = { queue, group, isWaiting: group.standby, onStage };
    this.runs.set(id, run);
    const cancel = (): void => this.tell({ kind: "cancel", run: id }, group);
    const abort = (): void => {
      if (run.isWaiting) queue.push(CANCELLED);
      else cancel();
    };
    signal.addEventListener("abort", abort);
    try {
      this.arrivals.add(
        { run: id, task, checkpoint, isOnStandby: group.standby, isTraced: onStage !== undefined },
        group,
      );
      if (signal.aborted) abort();
      let frame: RunEvent | undefined;
      for (;;) {
        const event = await queue.next(PULSE_MS);
        if (this.failure !== undefined) throw this.failure;
        if (event === undefined) {
          if (frame !== undefined && performance.now() - this.lastSign < PULSE_MS) yield frame;
          continue;
        }
        if (event.kind === "frame") frame = { ...event, previews: [] };
        yield event;
        if (isLastEvent(event)) return;
      }
    } finally {
      signal.removeEventListener("abort", abort);
      this.runs.delete(id);
      cancel();
    }
  }

  /** One on standby ends at once, however long the thread takes for its next word. False when no such run is there. */
  requestYield(id: string): boolean {
    const run = this.runs.get(id);
    if (run === undefined) return false;
    if (run.isWaiting) run.queue.push({ kind: "yielded", computeMs: 0 });
    else this.tell({ kind: "yield", run: id }, run.group);
    return true;
  }

  async stop(): Promise<void> {
    this.failure ??= new ComputeLostError("The worker was stopped.");
    await this.thread.terminate();
  }

  /** The thread knows a run once it has started: one that is told to stop waits for no company. */
  private tell(command: ComputeCommand, { id }: Group): void {
    this.arrivals.startNow(id);
    this.send(command);
  }

  private send(command: ComputeCommand): void {
    this.thread.postMessage(command);
  }

  private receive(message: ComputeMessage): void {
    this.lastSign = performance.now();
    const run = "run" in message ? this.runs.get(message.run) : undefined;
    if (!("run" in message) || run === undefined) return;
    if (message.kind === "stage") {
      run.onStage?.(message.stage);
      return;
    }
    run.isWaiting = false;
    run.queue.push(message.event);
  }
}
