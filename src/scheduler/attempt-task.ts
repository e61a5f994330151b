/** A task as a worker takes it: its pictures by value. */
import type { Picture, Task } from "../generation/settings.ts";
import type { AttemptTask } from "../pool/worker-call.ts";
import type { ImageStore } from "../storage/image-store.ts";

/** A picture that the task is about was deleted. */
export class SourceGoneError extends Error {
  override readonly name = "SourceGoneError";
}

export async function attemptTaskOf(task: Task, images: ImageStore): Promise<AttemptTask> {
  const bytesOf = async ({ key }: Picture): Promise<Uint8Array> => {
    const bytes = await images.get(key);
    if (bytes === undefined)
      throw new SourceGoneError("The picture that it starts from was deleted. Choose another one.");
    return bytes;
  };
  switch (task.kind) {
    case "TEXT_TO_IMAGE": {
      const { prompt, ...drawing } = task.settings;
      return { kind: "TEXT_TO_IMAGE", prompt, drawing };
    }
    case "IMAGE_EDIT": {
      const { instruction, source, mask, ...drawing } = task.settings;
      return {
        kind: "IMAGE_EDIT",
        instruction,
        drawing,
        source: await bytesOf(source),
        mask: mask === undefined ? undefined : await bytesOf(mask),
      };
    }
    case "IMAGE_VARIATION": {
      const { prompt, source, strength, ...drawing } = task.settings;
      return { kind: "IMAGE_VARIATION", prompt, strength, drawing, source: await bytesOf(source) };
    }
    case "IMAGE_TO_TEXT": {
      const { image, ...question } = task.settings;
      return { kind: "IMAGE_TO_TEXT", ...question, image: await bytesOf(image) };
    }
  }
}
