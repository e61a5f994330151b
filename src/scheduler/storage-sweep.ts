/**
 * Deletes what no row made or will make visible, an hour old or more: folders of leases that did not win, and of files that
 * were sent for an upload and do not count.
 */
import { asDispatcher } from "../platform/access.ts";
import type { Clock } from "../platform/clock.ts";
import type { Database } from "../platform/database.ts";
import type { ImageStore } from "../storage/image-store.ts";
import { listUploadFolders } from "../upload/upload.store.ts";
import { listWinningLeases } from "./lease.store.ts";

const MIN_AGE_MS = 3600_000;
/** Part of the time that it may take to list a store that has grown: 1 of so many. */
const TIME_PARTS = 100;
/** Folders that are looked up in one query. */
const BATCH = 500;
/** <tenant>/<generation or upload>/<lease or file>; anything else in the store is not ours to delete. */
const SWEPT_FOLDER = /^[0-9a-f-]{36}\/[0-9a-f-]{36}\/[0-9a-f-]{36}$/;

export class StorageSweep {
  private dueAtMs = Number.NEGATIVE_INFINITY;

  constructor(private readonly services: { db: Database; images: ImageStore; clock: Clock }) {}

  /** Unless the last time took so long that it is too soon. @returns how many folders were deleted */
  async runOnce(): Promise<number> {
    const { clock } = this.services;
    const begunAtMs = clock.elapsedMs();
    if (begunAtMs < this.dueAtMs) return 0;
    const deleted = await this.sweep();
    this.dueAtMs = begunAtMs + TIME_PARTS * (clock.elapsedMs() - begunAtMs);
    return deleted;
  }

  private async sweep(): Promise<number> {
    const { images, clock } = this.services;
    let deleted = 0;
    let batch: string[] = [];
    for await (const folder of images.listFolders(new Date(clock.now().getTime() - MIN_AGE_MS))) {
      if (!SWEPT_FOLDER.test(folder)) continue;
      batch.push(folder);
      if (batch.length < BATCH) continue;
      deleted += await this.deleteLosers(batch);
      batch = [];
    }
    return deleted + (await this.deleteLosers(batch));
  }

  private async deleteLosers(folders: readonly string[]): Promise<number> {
    if (folders.length === 0) return 0;
    const { db, images } = this.services;
    const parts = folders.map((folder) => {
      const [, ownerId = "", leaseId = ""] = folder.split("/");
      return { folder, ownerId, leaseId };
    });
    const ids = parts.map(({ ownerId }) => ownerId);
    const { winners, uploads } = await db.transaction(asDispatcher, async (tx) => ({
      winners: await listWinningLeases(tx, ids),
      uploads: await listUploadFolders(tx, ids),
    }));
    const losers = parts.filter(({ folder, leaseId }) => !winners.has(leaseId) && !uploads.has(folder));
    for (const { folder } of losers) await images.deleteFolder(folder);
    return losers.length;
  }
}
