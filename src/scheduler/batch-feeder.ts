/** Keeps the windows of all batches filled, finishes cancellations that were interrupted, and sweeps drafts of dead writers. */

import { deleteDraft, listStaleDrafts } from "../generation/batch.store.ts";
import { listOpenBatches } from "../generation/batch-item.store.ts";
import { BATCH_WINDOW, type BatchQueue } from "../generation/batch-queue.ts";
import { asDispatcher } from "../platform/access.ts";
import type { Database } from "../platform/database.ts";
import type { Logger } from "../platform/logger.ts";

/** A window is refilled when a quarter of it is free: one transaction for many items. */
const LOW_WATER = BATCH_WINDOW - BATCH_WINDOW / 4;
const BATCHES_AT_ONCE = 100;
const DRAFT_HOURS = 1;

export class BatchFeeder {
  constructor(private readonly services: { db: Database; batchQueue: BatchQueue; logger: Logger }) {}

  /** @returns how many batches had something to be done for */
  async runOnce(): Promise<number> {
    const { db, batchQueue, logger } = this.services;
    const open = await db.transaction(asDispatcher, (tx) =>
      listOpenBatches(tx, { lowWater: LOW_WATER, limit: BATCHES_AT_ONCE }),
    );
    for (const batch of open) {
      const act = batch.isCanceled ? batchQueue.cancelOpen(batch) : batchQueue.feed(batch);
      await act.catch((error) => logger.error({ batchId: batch.id, err: error }, "batch could not go on"));
    }
    return open.length;
  }

  /** Deletes batches that were never accepted, an hour old or more. */
  async sweepDrafts(): Promise<number> {
    const { db } = this.services;
    const ids = await db.transaction(asDispatcher, (tx) => listStaleDrafts(tx, DRAFT_HOURS));
    for (const id of ids) await db.transaction(asDispatcher, (tx) => deleteDraft(tx, id));
    return ids.length;
  }
}
