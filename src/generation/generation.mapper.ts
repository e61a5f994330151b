/** Stored rows in their public form. */
import { toGlobalId } from "../platform/ids.ts";
import { formatCredits } from "../quota/tariff.ts";
import type { GenerationDetails } from "./generation.store.ts";
import type { Failure, Generation, Recipe } from "./generation.type.ts";
import type { Image, ImageRow } from "./image.type.ts";
import { type Picture, parseTask, type Task } from "./settings.ts";

export function toGeneration(row: GenerationDetails): Generation {
  const { reservation } = row;
  return {
    id: toGlobalId("Generation", row.id),
    state: row.state,
    task: row.task,
    preset: row.preset,
    priority: row.priority,
    ...settingsOf(parseTask(row)),
    answer: row.answer,
    createdAt: row.createdAt,
    startedAt: row.startedAt,
    finishedAt: row.finishedAt,
    deadlineAt: row.deadlineAt,
    cancelRequestedAt: row.cancelRequestedAt,
    textsDeletedAt: row.textsDeletedAt,
    seq: row.milestoneSeq,
    attempts: row.attempts,
    failure: failureOf(row),
    recipe: row.recipe as Recipe | null,
    creditsReserved: formatCredits(reservation?.credits ?? 0n),
    creditsCharged: reservation?.settled == null ? null : formatCredits(reservation.settled),
    imageRows: row.images,
    userUuid: row.userId,
    parentUuid: row.parentId,
  };
}

export const failureOf = ({
  failureCode: code,
  failureMessage,
}: Pick<GenerationDetails, "failureCode" | "failureMessage">): Failure | null =>
  code === null ? null : { code, message: failureMessage ?? "" };

function settingsOf(task: Task): Pick<Generation, "textToImage" | "imageEdit" | "imageVariation" | "imageToText"> {
  const none = { textToImage: null, imageEdit: null, imageVariation: null, imageToText: null };
  switch (task.kind) {
    case "TEXT_TO_IMAGE":
      return { ...none, textToImage: task.settings };
    case "IMAGE_EDIT": {
      const { source, mask, ...settings } = task.settings;
      const { imageId: maskImageId, uploadId: maskUploadId } = idsOf(mask);
      return { ...none, imageEdit: { ...settings, ...idsOf(source), maskImageId, maskUploadId } };
    }
    case "IMAGE_VARIATION": {
      const { source, prompt = null, ...settings } = task.settings;
      return { ...none, imageVariation: { ...settings, prompt, ...idsOf(source) } };
    }
    case "IMAGE_TO_TEXT": {
      const { image, ...settings } = task.settings;
      return { ...none, imageToText: { ...settings, ...idsOf(image) } };
    }
  }
}

/** One of them at most. */
const idsOf = (picture: Picture | undefined): { imageId: string | null; uploadId: string | null } => ({
  imageId: picture !== undefined && "imageId" in picture ? toGlobalId("Image", picture.imageId) : null,
  uploadId: picture !== undefined && "uploadId" in picture ? toGlobalId("Upload", picture.uploadId) : null,
});

export const toImage = ({ id, ...image }: ImageRow): Image => ({ id: toGlobalId("Image", id), ...image });
