/** From a task as it was asked for to one that can run: its pictures must be the caller's to see. */
import { may } from "../auth/authorization.ts";
import type { Principal } from "../auth/principal.ts";
import type { Tx } from "../platform/database.ts";
import { DomainError, invariant } from "../platform/errors.ts";
import { fromGlobalId, notFound } from "../platform/ids.ts";
import { IMAGE_VARIANTS } from "../storage/image-variants.ts";
import { takeUpload } from "../upload/take-upload.ts";
import { pictureKey } from "../upload/upload-files.ts";
import { resolveImageEdit, resolveImageToText, resolveImageVariation, resolveTextToImage } from "./admission.ts";
import type { PictureInput, TaskInput } from "./generation.input.ts";
import { findImage } from "./image.store.ts";
import type { OfferedPreset } from "./preset-catalog.ts";
import type { Picture, Task } from "./settings.ts";

/** From this level on, of 0 to 255, workers take a pixel of a mask to be drawn anew. */
const MASK_THRESHOLD = 128;

export async function resolveTask(
  tx: Tx,
  principal: Principal,
  { textToImage, imageEdit, imageVariation, imageToText }: TaskInput,
  preset: OfferedPreset,
): Promise<Task> {
  const find = (picture: PictureInput, ...path: readonly string[]): Promise<FoundPicture> =>
    findPicture(tx, principal, picture, ["input", "task", ...path]);
  if (textToImage !== undefined) {
    return { kind: "TEXT_TO_IMAGE", settings: resolveTextToImage(textToImage, preset) };
  }
  if (imageEdit !== undefined) {
    const source = await find(imageEdit.image, "imageEdit", "image");
    const mask = imageEdit.mask === undefined ? undefined : await find(imageEdit.mask, "imageEdit", "mask");
    if (mask !== undefined) checkMask(mask, source, ["input", "task", "imageEdit", "mask"]);
    const pictures = { source: source.picture, mask: mask?.picture };
    return { kind: "IMAGE_EDIT", settings: resolveImageEdit(imageEdit, pictures, preset) };
  }
  if (imageVariation !== undefined) {
    const { picture } = await find(imageVariation.image, "imageVariation", "image");
    return { kind: "IMAGE_VARIATION", settings: resolveImageVariation(imageVariation, picture, preset) };
  }
  if (imageToText !== undefined) {
    const { picture } = await find(imageToText.image, "imageToText", "image");
    return { kind: "IMAGE_TO_TEXT", settings: resolveImageToText(imageToText, picture, preset) };
  }
  throw new DomainError("INVALID_INPUT", "Name exactly one task.", { path: ["input", "task"] });
}

/** A picture to start from, as far as a refusal needs to know it. */
interface FoundPicture {
  readonly picture: Picture;
  readonly width: number;
  readonly height: number;
  /** Of its brightest pixel, 0 to 255; undefined for pictures that were drawn, which nobody measured. */
  readonly brightest?: number;
}

/** Another's picture is as absent as none. */
async function findPicture(
  tx: Tx,
  principal: Principal,
  { imageId, uploadId }: PictureInput,
  path: readonly string[],
): Promise<FoundPicture> {
  if (uploadId !== undefined) {
    const { id, storageKey, picture } = await takeUpload(tx, principal, { id: uploadId, purpose: "PICTURE", path });
    invariant(picture !== undefined, "an upload for pictures is one");
    return { picture: { uploadId: id, key: pictureKey(storageKey) }, ...picture };
  }
  if (imageId === undefined) throw new DomainError("INVALID_INPUT", "Name a picture.", { path });
  const row = await findImage(tx, fromGlobalId("Image", imageId, path));
  if (row === undefined || !may(principal, "generation:read", row)) throw notFound("Image", imageId, path);
  const { id, storageKey, width, height } = row;
  return { picture: { imageId: id, key: `${storageKey}/${IMAGE_VARIANTS.ORIGINAL}` }, width, height };
}

/** What a worker would refuse, before it is queued and paid for. */
function checkMask(mask: FoundPicture, source: FoundPicture, path: readonly string[]): void {
  if (mask.width !== source.width || mask.height !== source.height) {
    throw new DomainError(
      "INVALID_INPUT",
      `The mask has ${mask.width} x ${mask.height} pixels and the picture ${source.width} x ${source.height}. ` +
        "Make them the same size.",
      { path },
    );
  }
  if (mask.brightest !== undefined && mask.brightest < MASK_THRESHOLD) {
    throw new DomainError(
      "INVALID_INPUT",
      "The mask is empty. Paint white what is to be drawn anew, and the rest black.",
      { path },
    );
  }
}
