/** The commands that draw: queue a generation or pick one up, show its progress, and write its pictures. */
import { ask, type Follower, type FollowOptions, follow, queue, type Wish } from "./follow.ts";
import type { FinishedEvent } from "./generation-event.ts";
import { ServerLost } from "./outage.ts";
import { choosePictureFiles, writePicture } from "./picture-files.ts";

export interface GenerateOptions extends FollowOptions {
  /** As the user gave it. */
  readonly out: string;
  /** Where a relative `out` starts. */
  readonly folder: string;
}

/** @param wish.count pictures; 1 unless given. @returns the exit code */
export function draw(wish: Wish & { readonly count?: number | undefined }, options: GenerateOptions): Promise<number> {
  const files = choosePictureFiles(options.out, { folder: options.folder, count: wish.count ?? 1 });
  return ask(wish, writerOf(files, options), options);
}

/** Waits for a generation that exists, and writes its pictures. @returns the exit code */
export async function resume(id: string, options: GenerateOptions): Promise<number> {
  const count = await options.client.countPictures(id);
  const files = choosePictureFiles(options.out, { folder: options.folder, count });
  return follow(id, writerOf(files, options), options);
}

/** Draws what a generation was asked for once more. @returns the exit code */
export async function redraw(id: string, options: GenerateOptions): Promise<number> {
  const count = await options.client.countPictures(id);
  const files = choosePictureFiles(options.out, { folder: options.folder, count });
  return queue(() => options.client.replay(id), writerOf(files, options), options);
}

const writerOf = (files: readonly string[], options: GenerateOptions): Follower => ({
  show: (event) => options.progress.show(event),
  finish: (id, finished) => writePictures(id, finished, files, options),
});

async function writePictures(
  id: string,
  { generation }: FinishedEvent,
  files: readonly string[],
  { client, say, resumeCommand }: GenerateOptions,
): Promise<void> {
  const { images, textToImage, imageEdit, imageVariation, creditsCharged } = generation;
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
  const seed = (textToImage ?? imageEdit ?? imageVariation)?.seed;
  say(`${files.map((file) => `wrote ${file}`).join("\n")} (seed ${seed}, ${creditsCharged} credits)`);
}
