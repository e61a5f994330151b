/**
 * Deletes the milestones and attempts of generations that ended long ago, of whichever tenant: they would grow without end. What
 * was charged, said and drawn is kept elsewhere, as long as its own rules say.
 */
import { setImmediate } from "node:timers/promises";
import { asDispatcher } from "../platform/access.ts";
import type { Database } from "../platform/database.ts";
import type { Metrics } from "../platform/metrics.ts";
import { listUncounted, pruneGenerations } from "./retention.store.ts";

/** Generations of one transaction: some milliseconds of the embedded database. */
const BATCH = 200;

export interface HistoryPruneOptions {
  readonly db: Database;
  readonly metrics: Metrics;
  /** After the end of a generation; 0 keeps for ever. */
  readonly days: number;
}

export class HistoryPrune {
  private isStopped = false;

  constructor(private readonly options: HistoryPruneOptions) {}

  /** @returns of how many generations they are gone now */
  async runOnce(): Promise<number> {
    const { db, metrics, days } = this.options;
    if (days === 0) return 0;
    const uncounted = await db.transaction(asDispatcher, listUncounted);
    for (let pruned = 0; ; await setImmediate()) {
      const { generations, milestones, attempts } = await db.transaction(asDispatcher, (tx) =>
        pruneGenerations(tx, { days, uncounted, limit: BATCH }),
      );
      metrics.prunedRows.inc({ table: "milestone" }, milestones);
      metrics.prunedRows.inc({ table: "attempt" }, attempts);
      pruned += generations;
      if (generations < BATCH || this.isStopped) return pruned;
    }
  }

  /** What is under way ends with its transaction: the rest is found at the next start. */
  stop(): void {
    this.isStopped = true;
  }
}
