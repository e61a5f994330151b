/** The command that draws: queues a generation or picks one up, shows its progress, and writes its pictures. */
import type { ApiClient, TextToImageWish } from "./api-client.ts";
import type { FinishedEvent } from "./generation-event.ts";
import { ServerLost } from "./outage.ts";
import { choosePictureFiles, writePicture } from "./picture-files.ts";
import type { ProgressLine } from "./progress-line.ts";

/** Exit code of a command that was interrupted: 128 + SIGINT. */
const INTERRUPTED = 130;

export interface GenerateOptions {
  readonly client: ApiClient;
  readonly progress: ProgressLine;
  /** As the user gave it. */
  readonly out: string;
  /** Where a relative `out` starts. */
  readonly folder: string;
  /** Aborts when the user wants to stop. */
  readonly stop: AbortSignal;
  readonly say: (text: string) => void;
  /** The command that fetches the pictures of a generation. */
  readonly resumeCommand: (id: string) => string;
}

/** @returns the exit code */
export async function draw(
  wish: TextToImageWish & { readonly preset?: string | undefined },
  options: GenerateOptions,
): Promise<number> {
  const { preset, ...textToImage } = wish;
  const files = choosePictureFiles(options.out, { folder: options.folder, count: wish.count ?? 1 });
  const id = await options.client.create(textToImage, preset);
  options.say(`queued ${id}`);
  return follow(id, files, options);
}

/** Waits for a generation that exists, and writes its pictures. @returns the exit code */
export async function resume(id: string, options: GenerateOptions): Promise<number> {
  const count = await options.client.countPictures(id);
  return follow(id, choosePictureFiles(options.out, { folder: options.folder, count }), options);
}

async function follow(id: string, files: readonly string[], options: GenerateOptions): Promise<number> {
  const { stop, say, resumeCommand } = options;
  const cancel = (): void => void cancelGeneration(id, options);
  if (stop.aborted) cancel();
  else stop.addEventListener("abort", cancel, { once: true });
  try {
    const finished = await waitForEnd(id, options);
    if (stop.aborted) {
      say(farewell(id, finished, resumeCommand));
      return INTERRUPTED;
    }
    await writePictures(id, finished, files, options);
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

async function waitForEnd(id: string, { client, progress, stop }: GenerateOptions): Promise<FinishedEvent> {
  try {
    for await (const event of client.events(id)) {
      if (!stop.aborted) progress.show(event);
      if (event.__typename === "FinishedEvent") return event;
    }
    throw new Error(`The events of ${id} broke off.`);
  } finally {
    progress.end();
  }
}

async function cancelGeneration(id: string, { client, progress, say }: GenerateOptions): Promise<void> {
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

async function writePictures(
  id: string,
  { state, failure, generation }: FinishedEvent,
  files: readonly string[],
  { client, say, resumeCommand }: GenerateOptions,
): Promise<void> {
  const { images, textToImage, creditsCharged } = generation;
  if (state !== "SUCCEEDED") throw new Error(`${id} ended as ${state}. ${failure?.message ?? ""}`.trim());
  for (const [i, { url }] of images.entries()) {
    const file = files[i];
    if (file === undefined) throw new Error(`${id} has more pictures than it was asked for.`);
    try {
      writePicture(file, await client.download(url));
    } catch (error) {
      if (error instanceof ServerLost) throw error;
      const links = images.slice(i).map((image) => `  ${image.url}`);
      throw new Error(
        [
          error instanceof Error ? error.message : String(error),
          `${id} is drawn, and waits under these links for an hour:`,
          ...links,
          "Later, or to write it elsewhere:",
          `  ${resumeCommand(id)}`,
        ].join("\n"),
        { cause: error },
      );
    }
  }
  say(`${files.map((file) => `wrote ${file}`).join("\n")} (seed ${textToImage?.seed}, ${creditsCharged} credits)`);
}
