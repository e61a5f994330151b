/**
 * Deletes the bytes of pictures whose rows are marked as deleted: at once by whoever marked them, and again by a duty, which
 * finds what is left when a process died in between or the image store failed.
 */
import { NIL } from "uuid";
import { asDispatcher } from "../platform/access.ts";
import type { Database } from "../platform/database.ts";
import type { Logger } from "../platform/logger.ts";
import type { ImageStore } from "../storage/image-store.ts";
import { listToPurge, markPurged, type Tombstone } from "./deletion.store.ts";

/** Marked in one transaction. */
const BATCH = 500;

export interface ImagePurgeServices {
  readonly db: Database;
  readonly images: ImageStore;
  readonly logger: Logger;
}

export class ImagePurge {
  constructor(private readonly services: ImagePurgeServices) {}

  /** @returns of how many pictures the bytes are gone now */
  async purge(tombstones: readonly Tombstone[]): Promise<number> {
    const { db, images, logger } = this.services;
    const purged: string[] = [];
    for (const { id, storageKey } of tombstones) {
      try {
        await images.deleteFolder(storageKey);
        purged.push(id);
      } catch (err) {
        logger.error({ err, imageId: id }, "picture could not be deleted: tried again later");
      }
    }
    if (purged.length > 0) await db.transaction(asDispatcher, (tx) => markPurged(tx, purged));
    return purged.length;
  }

  /** @returns of how many pictures the bytes are gone now */
  async runOnce(): Promise<number> {
    let purged = 0;
    for (let after: string = NIL; ; ) {
      const found = await this.list(after);
      purged += await this.purge(found);
      const last = found.at(-1);
      if (last === undefined) return purged;
      after = last.id;
    }
  }

  private list(after: string): Promise<readonly Tombstone[]> {
    return this.services.db.transaction(asDispatcher, (tx) => listToPurge(tx, { after, limit: BATCH }));
  }
}
