/** Pictures that commands start from: files of the user, or pictures that the server has. */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import type { ApiClient } from "./api-client.ts";
import type { PictureName } from "./task-wish.ts";
import { openFile, type Sendable, upload } from "./upload.ts";

const IMAGE_ID = /^img_[\w-]+$/;

export type PictureSource = { readonly imageId: string } | { readonly file: Sendable };

/** @param name a file, or the id of an image; a relative file starts in `folder` */
export function findPicture(name: string, folder: string): PictureSource {
  const file = resolve(folder, name);
  return IMAGE_ID.test(name) && !existsSync(file) ? { imageId: name } : { file: openFile(file, name) };
}

/** Uploads a file; a picture that the server has stays there. */
export async function sendPicture(
  client: ApiClient,
  source: PictureSource,
  options: { readonly stop: AbortSignal; readonly onSent: (sentBytes: number, sizeBytes: number) => void },
): Promise<PictureName> {
  if ("imageId" in source) return source;
  return { uploadId: await upload(client, source.file, { purpose: "PICTURE", ...options }) };
}
