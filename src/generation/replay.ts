/** What was asked for once, as it would be asked for again: every setting named, the seed included. */
import { DomainError, type DomainErrorCode } from "../platform/errors.ts";
import { toGlobalId } from "../platform/ids.ts";
import type { PictureInput, TaskInput } from "./generation.input.ts";
import type { DrawingSettings, Picture, Task } from "./settings.ts";

export function taskInputOf(task: Task): TaskInput {
  switch (task.kind) {
    case "TEXT_TO_IMAGE":
      return { textToImage: withoutEmpty(task.settings) };
    case "IMAGE_EDIT": {
      const { source, mask, ...settings } = task.settings;
      const image = pictureInputOf(source);
      return {
        imageEdit: { ...withoutEmpty(settings), image, ...(mask !== undefined && { mask: pictureInputOf(mask) }) },
      };
    }
    case "IMAGE_VARIATION": {
      const { source, prompt, ...settings } = task.settings;
      const image = pictureInputOf(source);
      return { imageVariation: { ...withoutEmpty(settings), image, ...(prompt !== undefined && { prompt }) } };
    }
    case "IMAGE_TO_TEXT": {
      const { image, ...settings } = task.settings;
      return { imageToText: { ...settings, image: pictureInputOf(image) } };
    }
  }
}

/** An empty text comes from a preset whose default it is: nobody can ask for it. */
function withoutEmpty<Settings extends DrawingSettings>({ unconditionalPrompt, ...settings }: Settings) {
  return { ...settings, ...(unconditionalPrompt !== "" && { unconditionalPrompt }) };
}

const pictureInputOf = (picture: Picture): PictureInput =>
  "imageId" in picture
    ? { imageId: toGlobalId("Image", picture.imageId) }
    : { uploadId: toGlobalId("Upload", picture.uploadId) };

/** What is wrong with a task or a preset that the caller did not name. */
const OF_THE_TASK: readonly DomainErrorCode[] = ["INVALID_INPUT", "NOT_FOUND"];

/** A refusal of the task in the words of who asks for a replay, and knows its id only. */
export function refusalOfReplay(error: unknown): unknown {
  if (!(error instanceof DomainError)) return error;
  const { code, message, details } = error;
  const { path = [] } = details;
  if (path[1] !== "task" && path[1] !== "preset") return error;
  if (OF_THE_TASK.includes(code)) return notReplayable(message);
  return new DomainError(code, message, { ...details, path: ["input", "id"] });
}

export const notReplayable = (why: string): DomainError =>
  new DomainError("NOT_REPLAYABLE", `It cannot be replayed. ${why}`, { path: ["input", "id"] });
