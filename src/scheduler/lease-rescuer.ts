/** Generations whose dispatcher is gone go back to the queue, with the checkpoint that their attempt left. */
import type { GenerationLifecycle } from "../generation/generation-lifecycle.ts";
import type { Database } from "../platform/database.ts";
import type { Logger } from "../platform/logger.ts";
import { listOrphanedLeases } from "./lease.store.ts";

export class LeaseRescuer {
  constructor(
    private readonly services: { db: Database; lifecycle: GenerationLifecycle; logger: Logger },
    private readonly pool: string,
  ) {}

  /** @param all also those whose lease has not run out: their holder cannot be alive. @returns how many were rescued */
  async runOnce({ all }: { all: boolean }): Promise<number> {
    const { db, lifecycle, logger } = this.services;
    const orphans = await db.transaction((tx) => listOrphanedLeases(tx, { pool: this.pool, all }));
    for (const { isCancelRequested, checkpointSteps, ...fence } of orphans) {
      logger.warn({ ...fence, checkpointSteps }, "orphaned attempt");
      if (isCancelRequested) await lifecycle.cancelRunning(fence, { stepsDone: checkpointSteps });
      else
        await lifecycle.giveBack(fence, {
          outcome: "ORPHANED",
          failureCode: "ORPHANED",
          message: "The server that ran it ended.",
          stepsDone: checkpointSteps,
        });
    }
    return orphans.length;
  }
}
