/** Pictures of an attempt, as they come from its worker. They become visible with the completion. */
import { createHash } from "node:crypto";
import type { NewImage } from "../generation/generation.store.ts";
import { inSpan } from "../platform/tracing.ts";
import { WorkerCallError, type WorkerEvent } from "../pool/worker-call.ts";
import type { ImageStore } from "../storage/image-store.ts";
import { IMAGE_VARIANTS, type ImageVariant, variantsOf } from "../storage/image-variants.ts";

type PictureEvent = Extract<WorkerEvent, { kind: "image" }>;

/** Stores a picture in all its forms. @param folder of the attempt */
export function storePicture(images: ImageStore, folder: string, event: PictureEvent): Promise<NewImage> {
  const { index, width, height, mimeType, bytes } = event;
  const attributes = { "atelier.picture.index": index, "atelier.picture.bytes": bytes.length };
  return inSpan("store picture", { attributes }, async () => {
    const storageKey = `${folder}/${index}`;
    const variants = await variantsOf(bytes).catch((cause) => {
      throw new WorkerCallError("internal", "The worker sent a picture that cannot be read.", { cause });
    });
    for (const [variant, content] of Object.entries(variants))
      await images.put(`${storageKey}/${IMAGE_VARIANTS[variant as ImageVariant]}`, content);
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    return { index, storageKey, width, height, mimeType, sizeBytes: bytes.length, sha256 };
  });
}
