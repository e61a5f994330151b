/**
 * Deletes the milestones and attempts of generations that ended long ago, of whichever tenant: they would grow without end. What
 * was charged, said and drawn is kept elsewhere, as long as its own rules say.
 */
import { setImmediate } from "node:timers/promises";
import { asDispatcher } from "../platform/access.ts";
import type { Database } from "../platform/database.ts";
import { pruneGenerations } from "./retention.store.ts";

/** Generations of one transaction: some milliseconds of the embedded database. */
const BATCH = 200;

export class HistoryPrune {
  /** @param days after the end of a generation; 0 keeps for ever */
  constructor(private readonly services: { readonly db: Database; readonly days: number }) {}

  /** @returns of how many generations they are gone now */
  async runOnce(): Promise<number> {
    const { db, days } = this.services;
    if (days === 0) return 0;
    for (let pruned = 0; ; await setImmediate()) {
      const count = await db.transaction(asDispatcher, (tx) => pruneGenerations(tx, { days, limit: BATCH }));
      pruned += count;
      if (count < BATCH) return pruned;
    }
  }
}
