/** Keeps the windows of all batches filled, finishes cancellations that were interrupted, and sweeps drafts of dead writers. */

import { deleteDraft, listStaleDrafts } from "../generation/batch.store.ts";
import { listOpenBatches, type OpenBatch } from "../generation/batch-item.store.ts";
import { BATCH_WINDOW, type BatchQueue } from "../generation/batch-queue.ts";
import { asDispatcher } from "../platform/access.ts";
import type { Database } from "../platform/database.ts";
import type { Logger } from "../platform/logger.ts";

/** A window is refilled when a quarter of it is free: one transaction for many items. */
const LOW_WATER = BATCH_WINDOW - BATCH_WINDOW / 4;
const BATCHES_AT_ONCE = 100;
/** A batch whose checks take longer goes on in the background, and the next one has its turn. */
const PATIENCE_MS = 200;
const MAX_IN_BACKGROUND = 16;
const DRAFT_HOURS = 1;

export class BatchFeeder {
  /** Batches that are being seen to. */
  private readonly underway = new Map<string, Promise<void>>();
  private readonly stopping = new AbortController();

  constructor(private readonly services: { db: Database; batchQueue: BatchQueue; logger: Logger }) {}

  /** @returns how many batches had something to be done for */
  async runOnce(): Promise<number> {
    const open = await this.services.db.transaction(asDispatcher, (tx) =>
      listOpenBatches(tx, { lowWater: LOW_WATER, limit: BATCHES_AT_ONCE }),
    );
    for (const batch of open) {
      if (this.underway.size >= MAX_IN_BACKGROUND) break;
      if (this.underway.has(batch.id)) continue;
      const act = this.advance(batch).finally(() => this.underway.delete(batch.id));
      this.underway.set(batch.id, act);
      await settledWithin(act, PATIENCE_MS);
    }
    return open.length;
  }

  /** Asks no more checks. */
  async stop(): Promise<void> {
    this.stopping.abort();
    await Promise.all(this.underway.values());
  }

  /** Deletes batches that were never accepted, an hour old or more. */
  async sweepDrafts(): Promise<number> {
    const { db } = this.services;
    const ids = await db.transaction(asDispatcher, (tx) => listStaleDrafts(tx, DRAFT_HOURS));
    for (const id of ids) await db.transaction(asDispatcher, (tx) => deleteDraft(tx, id));
    return ids.length;
  }

  private async advance(batch: OpenBatch): Promise<void> {
    const { batchQueue, logger } = this.services;
    const { signal } = this.stopping;
    try {
      await (batch.isCanceled ? batchQueue.cancelOpen(batch) : batchQueue.feed(batch, signal));
    } catch (error) {
      if (!signal.aborted) logger.error({ batchId: batch.id, err: error }, "batch could not go on");
    }
  }
}

async function settledWithin(act: Promise<void>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const patience = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([act, patience]);
  clearTimeout(timer);
}
