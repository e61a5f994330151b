/** Waits for the end of a generation, whatever its task: shows its events, and cancels it when the user wants to stop. */
import type { ApiClient } from "./api-client.ts";
import type { FinishedEvent, GenerationEvent } from "./generation-event.ts";
import { ServerLost } from "./outage.ts";
import type { ProgressLine } from "./progress-line.ts";
import type { TaskWish } from "./task-wish.ts";

/** Exit code of a command that was interrupted: 128 + SIGINT. */
const INTERRUPTED = 130;

export interface FollowOptions {
  readonly client: ApiClient;
  readonly progress: ProgressLine;
  /** Aborts when the user wants to stop. */
  readonly stop: AbortSignal;
  readonly say: (text: string) => void;
  /** The command that fetches what a generation made. */
  readonly resumeCommand: (id: string) => string;
}

/** What a command does with a generation. */
export interface Follower {
  show(event: GenerationEvent): void;
  /** Once it has succeeded. */
  finish(id: string, finished: FinishedEvent): Promise<void> | void;
}

/** A task, once the files that it starts from are sent; and the preset. */
export interface Wish {
  readonly makeTask: () => Promise<TaskWish>;
  readonly preset: string | undefined;
}

/** Asks for a generation, and follows it. @returns the exit code */
export const ask = ({ makeTask, preset }: Wish, follower: Follower, options: FollowOptions): Promise<number> =>
  queue(async () => options.client.create(await makeTask(), preset), follower, options);

/** @param create queues a generation, whose id it gives. @returns the exit code */
export async function queue(
  create: () => Promise<string>,
  follower: Follower,
  options: FollowOptions,
): Promise<number> {
  const { stop, say } = options;
  let id: string;
  try {
    id = await create();
  } catch (error) {
    if (!stop.aborted) throw error;
    say("stopped before anything was queued");
    return INTERRUPTED;
  }
  say(`queued ${id}`);
  return follow(id, follower, options);
}

/** @returns the exit code */
export async function follow(id: string, follower: Follower, options: FollowOptions): Promise<number> {
  const { stop, say, resumeCommand } = options;
  const cancel = (): void => void cancelGeneration(id, options);
  if (stop.aborted) cancel();
  else stop.addEventListener("abort", cancel, { once: true });
  try {
    const finished = await waitForEnd(id, follower, options);
    if (stop.aborted) {
      say(farewell(id, finished, resumeCommand));
      return INTERRUPTED;
    }
    const { state, failure } = finished;
    if (state !== "SUCCEEDED") throw new Error(`${id} ended as ${state}. ${failure?.message ?? ""}`.trim());
    await follower.finish(id, finished);
    return 0;
  } catch (error) {
    if (!(error instanceof ServerLost)) throw error;
    throw new Error(
      `${error.message} Nothing is lost: once the server runs again it finishes ${id}. Fetch it with\n  ${resumeCommand(id)}`,
      { cause: error },
    );
  } finally {
    stop.removeEventListener("abort", cancel);
  }
}

async function waitForEnd(
  id: string,
  follower: Follower,
  { client, progress, stop }: FollowOptions,
): Promise<FinishedEvent> {
  try {
    for await (const event of client.events(id)) {
      if (!stop.aborted) follower.show(event);
      if (event.__typename === "FinishedEvent") return event;
    }
    throw new Error(`The events of ${id} broke off.`);
  } finally {
    progress.end();
  }
}

async function cancelGeneration(id: string, { client, progress, say }: FollowOptions): Promise<void> {
  progress.end();
  say("cancelling … (Ctrl-C again ends at once)");
  try {
    await client.cancel(id);
  } catch (error) {
    say(`${id} could not be cancelled: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function farewell(id: string, { state, generation }: FinishedEvent, resumeCommand: (id: string) => string): string {
  const charged = `${generation.creditsCharged} credits charged`;
  return state === "SUCCEEDED"
    ? `${id} was finished before it could be cancelled (${charged}). Fetch it with\n  ${resumeCommand(id)}`
    : `cancelled ${id} (${charged})`;
}
