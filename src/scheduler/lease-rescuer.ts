/** Generations whose dispatcher is gone go back to the queue, with the checkpoint that their attempt left. */

import type { FencedResult, GenerationLifecycle } from "../generation/generation-lifecycle.ts";
import { asDispatcher } from "../platform/access.ts";
import type { Database } from "../platform/database.ts";
import type { Logger } from "../platform/logger.ts";
import { inOrphanSpan } from "./attempt-trace.ts";
import { listOrphanedLeases, type OrphanedLease } from "./lease.store.ts";

export class LeaseRescuer {
  constructor(
    private readonly services: { db: Database; lifecycle: GenerationLifecycle; logger: Logger },
    private readonly pool: string,
  ) {}

  /** @param all also those whose lease has not run out: their holder cannot be alive. @returns how many were found */
  async runOnce({ all }: { all: boolean }): Promise<number> {
    const { db, logger } = this.services;
    const orphans = await db.transaction(asDispatcher, (tx) => listOrphanedLeases(tx, { pool: this.pool, all }));
    for (const orphan of orphans) {
      logger.warn(orphan, "orphaned attempt");
      await this.rescue(orphan, all).catch((error) => logger.error({ ...orphan, err: error }, "rescue failed"));
    }
    return orphans.length;
  }

  private rescue(orphan: OrphanedLease, all: boolean): Promise<FencedResult> {
    const { generationId, leaseId, checkpointSteps: stepsDone } = orphan;
    const fence = { generationId, leaseId, hasExpired: !all };
    const end = {
      failureClass: "ORPHANED",
      message: "The server that ran it ended.",
      stepsDone,
      hasAdvanced: false,
      hadCompany: false,
    } as const;
    return inOrphanSpan(this.services, orphan, () => this.services.lifecycle.retry(fence, end));
  }
}
