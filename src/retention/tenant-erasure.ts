/**
 * Empties erased tenants: cancels what is open, deletes rows in small transactions, then the bytes. Each step finds what is
 * left, so that it goes on wherever a process died.
 */
import { setImmediate } from "node:timers/promises";
import { cancelWaiting } from "../generation/batch.store.ts";
import type { GenerationLifecycle } from "../generation/generation-lifecycle.ts";
import { asPlatform } from "../platform/access.ts";
import type { Database, Tx } from "../platform/database.ts";
import type { QuotaService } from "../quota/quota.service.ts";
import type { ImageStore } from "../storage/image-store.ts";
import {
  deleteGenerations,
  deleteItems,
  deleteRecords,
  deleteRest,
  listOpen,
  listToEmpty,
  listUncanceledBatches,
  markEmptied,
} from "./tenant-erasure.store.ts";

/** Rows of one transaction: some milliseconds of the embedded database. */
const BATCH = 200;

export interface ErasureServices {
  readonly db: Database;
  readonly images: ImageStore;
  readonly lifecycle: GenerationLifecycle;
  readonly quota: QuotaService;
}

export class TenantErasure {
  constructor(private readonly services: ErasureServices) {}

  /** @returns how many tenants are empty now; others are when what runs has stopped */
  async runOnce(): Promise<number> {
    let emptied = 0;
    for (const tenantId of await this.inOne(listToEmpty)) if (await this.empty(tenantId)) emptied++;
    return emptied;
  }

  private async empty(tenantId: string): Promise<boolean> {
    if (!(await this.stopWork(tenantId))) return false;
    for (const step of [deleteGenerations, deleteItems, deleteRecords])
      while ((await this.inOne((tx) => step(tx, tenantId, BATCH))) > 0) await setImmediate();
    await this.inOne((tx) => deleteRest(tx, tenantId));
    await this.services.images.deleteFolder(tenantId);
    return this.inOne((tx) => markEmptied(tx, tenantId));
  }

  /** Ends what is queued, and asks what runs to stop. @returns whether nothing is open */
  private async stopWork(tenantId: string): Promise<boolean> {
    const { lifecycle, quota } = this.services;
    for (const id of await this.inOne((tx) => listUncanceledBatches(tx, tenantId)))
      await this.inOne(async (tx) => {
        if (await cancelWaiting(tx, id)) await quota.releaseWaiting(tx, id, "tenant erased");
      });
    for (;;) {
      const open = await this.inOne((tx) => listOpen(tx, tenantId, BATCH));
      const toCancel = open.filter(({ isAsked }) => !isAsked);
      for (const { id } of toCancel) {
        lifecycle.announceCancellation(await this.inOne((tx) => lifecycle.cancel(tx, id)));
        await setImmediate(); // queries of the embedded database leave no turn to others
      }
      if (toCancel.length === 0) return open.length === 0;
    }
  }

  private inOne<T>(step: (tx: Tx) => Promise<T>): Promise<T> {
    return this.services.db.transaction(asPlatform, step);
  }
}
