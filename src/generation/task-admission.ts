/** From a task as it was asked for to one that can run: its pictures must be the caller's to see. */
import { may } from "../auth/authorization.ts";
import type { Principal } from "../auth/principal.ts";
import type { Tx } from "../platform/database.ts";
import { DomainError } from "../platform/errors.ts";
import { fromGlobalId, notFound } from "../platform/ids.ts";
import { IMAGE_VARIANTS } from "../storage/image-variants.ts";
import { resolveImageEdit, resolveImageToText, resolveImageVariation, resolveTextToImage } from "./admission.ts";
import type { PictureInput, TaskInput } from "./generation.input.ts";
import { findImage } from "./image.store.ts";
import type { OfferedPreset } from "./preset-catalog.ts";
import type { Picture, Task } from "./settings.ts";

export async function resolveTask(
  tx: Tx,
  principal: Principal,
  { textToImage, imageEdit, imageVariation, imageToText }: TaskInput,
  preset: OfferedPreset,
): Promise<Task> {
  const find = (picture: PictureInput, ...path: readonly string[]): Promise<Picture> =>
    findPicture(tx, principal, picture, ["input", "task", ...path]);
  if (textToImage !== undefined) {
    return { kind: "TEXT_TO_IMAGE", settings: resolveTextToImage(textToImage, preset) };
  }
  if (imageEdit !== undefined) {
    const source = await find(imageEdit.image, "imageEdit", "image");
    const mask = imageEdit.mask === undefined ? undefined : await find(imageEdit.mask, "imageEdit", "mask");
    return { kind: "IMAGE_EDIT", settings: resolveImageEdit(imageEdit, { source, mask }, preset) };
  }
  if (imageVariation !== undefined) {
    const source = await find(imageVariation.image, "imageVariation", "image");
    return { kind: "IMAGE_VARIATION", settings: resolveImageVariation(imageVariation, source, preset) };
  }
  if (imageToText !== undefined) {
    const image = await find(imageToText.image, "imageToText", "image");
    return { kind: "IMAGE_TO_TEXT", settings: resolveImageToText(imageToText, image, preset) };
  }
  throw new DomainError("INVALID_INPUT", "Name exactly one task.", { path: ["input", "task"] });
}

/** Another's picture is as absent as none. */
async function findPicture(
  tx: Tx,
  principal: Principal,
  { imageId }: PictureInput,
  path: readonly string[],
): Promise<Picture> {
  if (imageId === undefined) throw new DomainError("INVALID_INPUT", "Name a picture.", { path: [...path] });
  const row = await findImage(tx, fromGlobalId("Image", imageId, path));
  if (row === undefined || !may(principal, "generation:read", row)) throw notFound("Image", imageId, path);
  return { imageId: row.id, key: `${row.storageKey}/${IMAGE_VARIANTS.ORIGINAL}` };
}
