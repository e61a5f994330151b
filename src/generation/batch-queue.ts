/**
 * Brings the items of a batch into the queue, a window at a time; what a check refuses fails instead, alone. All that decides
 * is in rows: whoever goes on after a crash finds each item queued once or not at all, and asks the checks again.
 */

import { setImmediate } from "node:timers/promises";
import { insertVerdicts } from "../moderation/verdict.store.ts";
import { asTenant } from "../platform/access.ts";
import type { Database, Tx } from "../platform/database.ts";
import { newId } from "../platform/ids.ts";
import { beginSpan, headersOf, NOBODY, SpanKind } from "../platform/tracing.ts";
import type { QuotaService } from "../quota/quota.service.ts";
import { countOpen, noteItemEnds } from "./batch.store.ts";
import {
  type BatchKey,
  type FeedableBatch,
  listDemands,
  listUncanceled,
  lockForFeeding,
  queueItems,
} from "./batch-item.store.ts";
import type { BatchModeration, JudgedItem } from "./batch-moderation.ts";
import type { GenerationLifecycle } from "./generation-lifecycle.ts";

/** Items of a batch that are queued or running at a time: enough to keep as many slots busy, and to fill groups. */
export const BATCH_WINDOW = 64;

export interface BatchQueueServices {
  readonly db: Database;
  readonly quota: QuotaService;
  readonly lifecycle: GenerationLifecycle;
  readonly moderation: BatchModeration;
}

export class BatchQueue {
  constructor(private readonly services: BatchQueueServices) {}

  /**
   * Fills the window of a batch as far as checks and limits let it: other items wait.
   * @returns how many wait no more
   * @throws the signal's reason when it is aborted while checks are asked
   */
  async feed({ id, tenantId }: BatchKey, signal: AbortSignal): Promise<number> {
    const { db, lifecycle, moderation } = this.services;
    const judged = await moderation.judgeNext({ id, tenantId }, BATCH_WINDOW, signal);
    const moved = await db.transaction(asTenant(tenantId), async (tx) => {
      const batch = await lockForFeeding(tx, id);
      return batch === undefined ? [] : this.move(tx, { id, tenantId, ...batch }, judged);
    });
    for (const { generationId, refusal } of moved) {
      const state = refusal === undefined ? "QUEUED" : "FAILED";
      lifecycle.announce({ id: generationId, milestoneSeq: 1, state });
    }
    // What was refused takes no room in the window: the next ones need not wait.
    if (moved.some(({ refusal }) => refusal !== undefined)) db.doorbell.ring();
    return moved.length;
  }

  /** Ends the queued generations of a canceled batch, and asks the running ones to stop. */
  async cancelOpen({ id: batchId, tenantId }: BatchKey): Promise<void> {
    const { db, lifecycle } = this.services;
    for (const id of await db.transaction(asTenant(tenantId), (tx) => listUncanceled(tx, batchId))) {
      lifecycle.announceCancellation(await db.transaction(asTenant(tenantId), (tx) => lifecycle.cancel(tx, id)));
      await setImmediate(); // queries of the embedded database leave no turn to others
    }
  }

  /** The items that wait no more. */
  private async move(
    tx: Tx,
    { id: batchId, tenantId, nextIndex: from, userId, apiKeyId }: BatchKey & FeedableBatch,
    judged: ReadonlyMap<number, JudgedItem> | undefined,
  ): Promise<readonly JudgedItem[]> {
    const { quota } = this.services;
    const open = await countOpen(tx, batchId);
    const next = await listDemands(tx, batchId, { from, limit: BATCH_WINDOW - open.queued - open.running });
    const known = next.flatMap((demand, place) => {
      const item = judged === undefined ? unjudged() : judged.get(from + place);
      return item === undefined ? [] : [{ ...demand, ...item }];
    });
    const pixels = known.filter(({ refusal }) => refusal === undefined).map((item) => item.pixels);
    const items = upTo(await quota.feed(tx, { tenantId, userId, apiKeyId }, pixels), known);
    if (items.length === 0) return [];
    await queueItems(tx, batchId, {
      from,
      items: items.map(({ generationId, refusal }) => ({
        generationId,
        refusal: refusal?.message,
        traceparent: beginTrace({ batchId, tenantId, generationId }),
      })),
    });
    await insertVerdicts(
      tx,
      items.map(({ generationId, verdicts }) => ({ tenantId, userId, generationId, verdicts })),
    );
    await quota.handOver(tx, batchId, items);
    await this.endRefused(
      tx,
      batchId,
      items.filter(({ refusal }) => refusal !== undefined),
    );
    return items;
  }

  /** Free: nothing ran. */
  private async endRefused(tx: Tx, batchId: string, items: readonly JudgedItem[]): Promise<void> {
    if (items.length === 0) return;
    await noteItemEnds(tx, batchId, "FAILED", items.length);
    const work = { task: "TEXT_TO_IMAGE", hasSucceeded: false, pixels: 0n } as const;
    for (const { generationId } of items)
      await this.services.quota.settle(tx, generationId, { done: 0n, whole: 1n, reason: "prompt refused", work });
  }
}

/** Each generation has a trace of its own, however many are queued together. @returns what continues it */
function beginTrace(ids: { readonly batchId: string; readonly tenantId: string; readonly generationId: string }) {
  const attributes = {
    "atelier.batch.id": ids.batchId,
    "atelier.tenant.id": ids.tenantId,
    "atelier.generation.id": ids.generationId,
  };
  const [span, context] = beginSpan("queue batch item", { kind: SpanKind.PRODUCER, parent: NOBODY, attributes });
  span.end();
  return headersOf(context)["traceparent"];
}

const unjudged = (): JudgedItem => ({ generationId: newId(), verdicts: [], refusal: undefined });

/** The first items of which `count` may be queued, with those in between that are refused. */
function upTo<Item extends JudgedItem>(count: number, items: readonly Item[]): readonly Item[] {
  let left = count;
  const end = items.findIndex(({ refusal }) => refusal === undefined && left-- === 0);
  return end === -1 ? items : items.slice(0, end);
}
