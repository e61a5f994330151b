/**
 * Deletes the bytes of uploads whose time ran out before they were finished or used, and forgets the uploads a week later.
 * When the process dies between row and bytes, the storage sweep finds them.
 */
import { asDispatcher } from "../platform/access.ts";
import type { Database } from "../platform/database.ts";
import type { ImageStore } from "../storage/image-store.ts";
import { deleteExpired, expireUploads } from "../upload/upload.store.ts";
import { folderOf } from "../upload/upload-files.ts";

/** Ended in one transaction. */
const BATCH = 500;
/** As long as whoever names an expired one is told so. */
const KEEP_HOURS = 7 * 24;

export class UploadExpiry {
  constructor(private readonly services: { db: Database; images: ImageStore }) {}

  /** @returns how many expired */
  async runOnce(): Promise<number> {
    const { db, images } = this.services;
    let expired = 0;
    for (let count = BATCH; count === BATCH; expired += count) {
      const places = await db.transaction(asDispatcher, (tx) => expireUploads(tx, BATCH));
      for (const place of places) await images.deleteFolder(folderOf(place));
      count = places.length;
    }
    await db.transaction(asDispatcher, (tx) => deleteExpired(tx, KEEP_HOURS));
    return expired;
  }
}
