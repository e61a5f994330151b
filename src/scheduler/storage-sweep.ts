/** Deletes what attempts stored and no completion made visible: folders of leases that did not win, an hour old or more. */
import type { Clock } from "../platform/clock.ts";
import type { Database } from "../platform/database.ts";
import type { ImageStore } from "../storage/image-store.ts";
import { findLease } from "./lease.store.ts";

const MIN_AGE_MS = 3600_000;

export class StorageSweep {
  constructor(private readonly services: { db: Database; images: ImageStore; clock: Clock }) {}

  /** @returns how many folders were deleted */
  async runOnce(): Promise<number> {
    const { db, images, clock } = this.services;
    let deleted = 0;
    for await (const folder of images.listAttemptFolders(new Date(clock.now().getTime() - MIN_AGE_MS))) {
      const [, generationId = "", leaseId = ""] = folder.split("/");
      const winner = await db.transaction((tx) => findLease(tx, generationId));
      if (winner === leaseId) continue;
      await images.deleteFolder(folder);
      deleted++;
    }
    return deleted;
  }
}
