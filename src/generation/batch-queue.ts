/**
 * Brings the items of a batch into the queue, a window at a time. All that decides is in rows: whoever goes on after a
 * crash finds each item queued once or not at all.
 */

import { setImmediate } from "node:timers/promises";
import { asTenant } from "../platform/access.ts";
import type { Database } from "../platform/database.ts";
import { newId } from "../platform/ids.ts";
import type { QuotaService } from "../quota/quota.service.ts";
import { countOpen } from "./batch.store.ts";
import { type BatchKey, listDemands, listUncanceled, lockForFeeding, queueItems } from "./batch-item.store.ts";
import type { GenerationLifecycle } from "./generation-lifecycle.ts";

/** Items of a batch that are queued or running at a time: enough to keep as many slots busy, and to fill groups. */
export const BATCH_WINDOW = 64;

export interface BatchQueueServices {
  readonly db: Database;
  readonly quota: QuotaService;
  readonly lifecycle: GenerationLifecycle;
}

export class BatchQueue {
  constructor(private readonly services: BatchQueueServices) {}

  /** Fills the window of a batch as far as limits let it: other items wait. @returns how many items were queued */
  async feed({ id: batchId, tenantId }: BatchKey): Promise<number> {
    const { db, quota, lifecycle } = this.services;
    const queued = await db.transaction(asTenant(tenantId), async (tx) => {
      const batch = await lockForFeeding(tx, batchId);
      if (batch === undefined) return [];
      const { nextIndex: from, userId, apiKeyId } = batch;
      const open = await countOpen(tx, batchId);
      const next = await listDemands(tx, batchId, { from, limit: BATCH_WINDOW - open.queued - open.running });
      const count = await quota.feed(
        tx,
        { tenantId, userId, apiKeyId },
        next.map(({ pixels }) => pixels),
      );
      if (count === 0) return [];
      const items = next.slice(0, count).map(({ credits }) => ({ generationId: newId(), credits }));
      await queueItems(tx, batchId, { from, generationIds: items.map(({ generationId }) => generationId) });
      await quota.handOver(tx, batchId, items);
      return items;
    });
    for (const { generationId } of queued) lifecycle.announce({ id: generationId, milestoneSeq: 1, state: "QUEUED" });
    return queued.length;
  }

  /** Ends the queued generations of a canceled batch, and asks the running ones to stop. */
  async cancelOpen({ id: batchId, tenantId }: BatchKey): Promise<void> {
    const { db, lifecycle } = this.services;
    for (const id of await db.transaction(asTenant(tenantId), (tx) => listUncanceled(tx, batchId))) {
      lifecycle.announceCancellation(await db.transaction(asTenant(tenantId), (tx) => lifecycle.cancel(tx, id)));
      await setImmediate(); // queries of the embedded database leave no turn to others
    }
  }
}
