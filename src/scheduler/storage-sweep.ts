/** Deletes what attempts stored and no completion made or will make visible: folders of leases that did not win, an hour old or more. */
import type { Clock } from "../platform/clock.ts";
import type { Database } from "../platform/database.ts";
import type { ImageStore } from "../storage/image-store.ts";
import { listWinningLeases } from "./lease.store.ts";

const MIN_AGE_MS = 3600_000;
/** Folders that are looked up in one query. */
const BATCH = 500;
/** <tenant>/<generation>/<lease>; anything else in the store is not ours to delete. */
const ATTEMPT_FOLDER = /^[0-9a-f-]{36}\/[0-9a-f-]{36}\/[0-9a-f-]{36}$/;

export class StorageSweep {
  constructor(private readonly services: { db: Database; images: ImageStore; clock: Clock }) {}

  /** @returns how many folders were deleted */
  async runOnce(): Promise<number> {
    const { images, clock } = this.services;
    let deleted = 0;
    let batch: string[] = [];
    for await (const folder of images.listAttemptFolders(new Date(clock.now().getTime() - MIN_AGE_MS))) {
      if (!ATTEMPT_FOLDER.test(folder)) continue;
      batch.push(folder);
      if (batch.length < BATCH) continue;
      deleted += await this.deleteLosers(batch);
      batch = [];
    }
    return deleted + (await this.deleteLosers(batch));
  }

  private async deleteLosers(folders: readonly string[]): Promise<number> {
    const { db, images } = this.services;
    const parts = folders.map((folder) => {
      const [, generationId = "", leaseId = ""] = folder.split("/");
      return { folder, generationId, leaseId };
    });
    const ids = parts.map(({ generationId }) => generationId);
    const winners = await db.transaction((tx) => listWinningLeases(tx, ids));
    const losers = parts.filter(({ leaseId }) => !winners.has(leaseId));
    for (const { folder } of losers) await images.deleteFolder(folder);
    return losers.length;
  }
}
