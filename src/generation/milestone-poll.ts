/**
 * Finds milestones whose announcement got lost: one query a second for all generations that this process watches. The
 * guarantee behind the bus, which only makes it faster.
 */
import { asPoll } from "../platform/access.ts";
import type { Database } from "../platform/database.ts";
import type { Logger } from "../platform/logger.ts";
import type { Metrics } from "../platform/metrics.ts";
import { Ticker } from "../platform/ticker.ts";
import { newestSeqs } from "./milestone.store.ts";

const INTERVAL_MS = 1000;

type Listener = (seq: number) => void;

export interface WatchedGeneration {
  readonly id: string;
  readonly tenantId: string;
}

export class MilestonePoll {
  private readonly watched = new Map<string, { readonly tenantId: string; readonly listeners: Set<Listener> }>();
  private readonly ticker: Ticker;

  constructor(
    private readonly db: Database,
    logger: Logger,
    metrics?: Metrics,
  ) {
    this.ticker = new Ticker({
      name: "milestone poll",
      intervalMs: INTERVAL_MS,
      runOnce: () => this.pollOnce(),
      logger,
      ...(metrics && { metrics }),
    });
  }

  start(): void {
    this.ticker.start();
  }

  /** Tells `listener` the newest seq of a generation once a second. @returns a function that stops it */
  watch({ id, tenantId }: WatchedGeneration, listener: Listener): () => void {
    const { listeners } = this.watched.get(id) ?? { listeners: new Set() };
    this.watched.set(id, { tenantId, listeners: listeners.add(listener) });
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0) this.watched.delete(id);
    };
  }

  stop(): Promise<void> {
    return this.ticker.stop();
  }

  private async pollOnce(): Promise<void> {
    if (this.watched.size === 0) return;
    const tenantIds = [...new Set([...this.watched.values()].map(({ tenantId }) => tenantId))];
    const seqs = await this.db.transaction(asPoll(tenantIds), (tx) => newestSeqs(tx, [...this.watched.keys()]));
    for (const [id, seq] of seqs) for (const listener of this.watched.get(id)?.listeners ?? []) listener(seq);
  }
}
