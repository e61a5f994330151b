/** Where the files of uploads lie in the image store: <tenant>/<upload>/<a folder for each file>/<file> */
import { newId } from "../platform/ids.ts";
import type { ImageStore } from "../storage/image-store.ts";
import { IMAGE_VARIANTS } from "../storage/image-variants.ts";
import type { UploadPlace } from "./upload.store.ts";

/** All that there is of an upload. */
export const folderOf = ({ tenantId, id }: UploadPlace): string => `${tenantId}/${id}`;

/** For one file that is sent or made: nothing is ever written over another file. */
export const newFileFolder = (place: UploadPlace): string => `${folderOf(place)}/${newId()}`;

export const sentKey = (folder: string): string => `${folder}/sent.bin`;

export const pictureKey = (folder: string): string => `${folder}/${IMAGE_VARIANTS.ORIGINAL}`;

/** The bytes of a finished upload for a batch, as they were sent; undefined when they expired meanwhile. */
export const openBatchFile = async (
  images: ImageStore,
  { storageKey }: { readonly storageKey: string },
): Promise<AsyncIterable<Uint8Array> | undefined> => (await images.getStream(sentKey(storageKey)))?.content;

/** Deletes files that do not count. What cannot be deleted now, the storage sweep deletes. */
export const discard = (images: ImageStore, folder: string): Promise<void> =>
  images.deleteFolder(folder).catch(() => {});
