/** Deletes what tenants keep no longer: rows are marked or emptied in small transactions, bytes follow. */
import { setImmediate } from "node:timers/promises";
import { asDispatcher } from "../platform/access.ts";
import type { Database, Tx } from "../platform/database.ts";
import type { QuotaService } from "../quota/quota.service.ts";
import type { ImagePurge } from "./image-purge.ts";
import {
  deleteBatchTexts,
  deleteItemTexts,
  deleteOldAnswers,
  deleteOldHashes,
  deleteOldImages,
  deleteOldTexts,
  endOldUploads,
  findOldBatch,
  listKeepingTenants,
  type Outdated,
} from "./retention.store.ts";

/** Rows of one transaction: some milliseconds of the embedded database. */
const BATCH = 200;

export interface RetentionServices {
  readonly db: Database;
  readonly quota: QuotaService;
  readonly purge: ImagePurge;
}

/** How much is gone. */
export interface RetentionReport {
  outputs: number;
  inputs: number;
  prompts: number;
}

export class RetentionDuty {
  constructor(private readonly services: RetentionServices) {}

  async runOnce(): Promise<RetentionReport> {
    const report: RetentionReport = { outputs: 0, inputs: 0, prompts: 0 };
    for (const { id: tenantId, outputsDays, inputsDays, promptsDays } of await this.inOne(listKeepingTenants)) {
      const outdated = (days: number): Outdated => ({ tenantId, days, limit: BATCH });
      if (outputsDays !== null) report.outputs += await this.deleteOutputs(outdated(outputsDays));
      if (inputsDays !== null) report.inputs += await this.repeat((tx) => endOldUploads(tx, outdated(inputsDays)));
      if (promptsDays !== null) report.prompts += await this.deletePrompts(outdated(promptsDays));
    }
    return report;
  }

  private async deleteOutputs(outdated: Outdated): Promise<number> {
    const answers = await this.repeat((tx) => deleteOldAnswers(tx, outdated));
    for (let deleted = answers; ; await setImmediate()) {
      const images = await this.inOne(async (tx) => {
        const images = await deleteOldImages(tx, outdated);
        const freed = images.map(({ userId, apiKeyId, sizeBytes: bytes }) => ({ userId, apiKeyId, bytes }));
        await this.services.quota.free(tx, outdated.tenantId, freed);
        return images;
      });
      if (images.length === 0) return deleted;
      await this.services.purge.purge(images);
      deleted += images.length;
    }
  }

  private async deletePrompts(outdated: Outdated): Promise<number> {
    const deleted = await this.repeat((tx) => deleteOldTexts(tx, outdated));
    for (;;) {
      const batchId = await this.inOne((tx) => findOldBatch(tx, outdated));
      if (batchId === undefined) break;
      for (let from = 0; await this.inOne((tx) => deleteItemTexts(tx, batchId, { from, limit: BATCH })); from += BATCH)
        await setImmediate();
      await this.inOne((tx) => deleteBatchTexts(tx, batchId));
    }
    await this.repeat((tx) => deleteOldHashes(tx, outdated));
    return deleted;
  }

  /** Until nothing is left. @returns how many there were */
  private async repeat(step: (tx: Tx) => Promise<number>): Promise<number> {
    let all = 0;
    for (let some = await this.inOne(step); some > 0; some = await this.inOne(step)) {
      all += some;
      await setImmediate(); // queries of the embedded database leave no turn to others
    }
    return all;
  }

  private inOne<T>(step: (tx: Tx) => Promise<T>): Promise<T> {
    return this.services.db.transaction(asDispatcher, step);
  }
}
