/**
 * Deletes the bytes of uploads whose time ran out before they were finished or used, and forgets the uploads a week later.
 * When the process dies between row and bytes, the storage sweep finds them.
 */
import { asDispatcher } from "../platform/access.ts";
import type { Database } from "../platform/database.ts";
import type { QuotaService } from "../quota/quota.service.ts";
import type { ImageStore } from "../storage/image-store.ts";
import { deleteExpired, type ExpiredUpload, expireUploads } from "../upload/upload.store.ts";
import { folderOf } from "../upload/upload-files.ts";

/** Ended in one transaction. */
const BATCH = 500;
/** As long as whoever names an expired one is told so. */
const KEEP_HOURS = 7 * 24;

export class UploadExpiry {
  constructor(private readonly services: { db: Database; images: ImageStore; quota: QuotaService }) {}

  /** @returns how many expired */
  async runOnce(): Promise<number> {
    const { db, images } = this.services;
    let expired = 0;
    for (let uploads = await this.expire(); uploads.length > 0; uploads = await this.expire()) {
      for (const upload of uploads) await images.deleteFolder(folderOf(upload));
      expired += uploads.length;
    }
    await db.transaction(asDispatcher, (tx) => deleteExpired(tx, KEEP_HOURS));
    return expired;
  }

  /** Some of one tenant. They no longer count as stored. */
  private expire(): Promise<readonly ExpiredUpload[]> {
    const { db, quota } = this.services;
    return db.transaction(asDispatcher, async (tx) => {
      const uploads = await expireUploads(tx, BATCH);
      const [first] = uploads;
      if (first !== undefined) await quota.free(tx, first.tenantId, uploads);
      return uploads;
    });
  }
}
