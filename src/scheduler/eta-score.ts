/**
 * How good are forecasts? Of generations that have to wait, what was foretold first is kept, and compared with what came: the
 * error as a part of the time from the forecast until then, in two histograms.
 */
import { Histogram, type Registry } from "prom-client";
import { asDispatcher } from "../platform/access.ts";
import type { Database } from "../platform/database.ts";
import type { Logger } from "../platform/logger.ts";
import { listOutcomes, listWaitingPools, type Outcome } from "./eta-score.store.ts";
import type { PoolForecast } from "./pool-forecast.ts";
import type { PoolForecasts } from "./pool-forecasts.ts";

/** Less is no wait; and shorter ones count as this long, or their errors would be out of proportion. */
const MIN_WAIT_MS = 1000;
/** Generations of which something is kept at a time. */
const MAX_NOTED = 1000;
const ERRORS = [0.02, 0.05, 0.1, 0.15, 0.25, 0.4, 0.6, 1, 2, 5];

/** Milliseconds since 1970, by the database's clock. */
interface Foretold {
  readonly pool: string;
  readonly notedAt: number;
  readonly startAt: number;
  readonly finishAt: number;
  hasStarted: boolean;
}

export interface EtaScoreServices {
  readonly db: Database;
  readonly forecasts: PoolForecasts;
  readonly registry: Registry;
  readonly logger: Logger;
}

export class EtaScore {
  private readonly foretold = new Map<string, Foretold>();
  private readonly startErrors: Histogram;
  private readonly finishErrors: Histogram;

  constructor(private readonly services: EtaScoreServices) {
    const histogram = (name: string, help: string): Histogram =>
      new Histogram({ name, help, labelNames: ["pool"], buckets: ERRORS, registers: [services.registry] });
    this.startErrors = histogram(
      "atelier_eta_start_error_ratio",
      "Error of estimated starts, as a part of the true wait.",
    );
    this.finishErrors = histogram(
      "atelier_eta_finish_error_ratio",
      "Error of estimated ends, as a part of the true time until then.",
    );
  }

  /** Reads a pool only while something waits in it. @returns how many generations something is kept of */
  async runOnce(): Promise<number> {
    const { db, forecasts } = this.services;
    const { pools, outcomes } = await db.transaction(asDispatcher, async (tx) => ({
      pools: await listWaitingPools(tx),
      outcomes: await listOutcomes(tx, [...this.foretold.keys()]),
    }));
    for (const [id, foretold] of this.foretold) this.compare(id, foretold, outcomes.get(id));
    for (const pool of pools) this.note(pool, await forecasts.of(pool), outcomes);
    return this.foretold.size;
  }

  /** @param outcomes of what was compared already: the forecast may be older than that */
  private note(pool: string, { state, starts }: PoolForecast, outcomes: ReadonlyMap<string, Outcome>): void {
    const notedAt = state.now.getTime();
    for (const { waiting, isKnown, startAt, finishAt } of starts) {
      if (this.foretold.size >= MAX_NOTED) return;
      if (!isKnown || !waiting.isNew || startAt === undefined || finishAt === undefined) continue;
      if (startAt.getTime() - notedAt < MIN_WAIT_MS || this.foretold.has(waiting.id)) continue;
      if (outcomes.has(waiting.id)) continue;
      const times = { startAt: startAt.getTime(), finishAt: finishAt.getTime() };
      this.foretold.set(waiting.id, { pool, notedAt, ...times, hasStarted: false });
    }
  }

  private compare(id: string, foretold: Foretold, outcome: Outcome | undefined): void {
    const { pool, startAt, finishAt } = foretold;
    if (outcome?.startedAt != null && !foretold.hasStarted) {
      foretold.hasStarted = true;
      this.score(this.startErrors, id, { foretold, expected: startAt, actual: outcome.startedAt.getTime(), pool });
    }
    if (outcome !== undefined && outcome.finishedAt === null) return;
    this.foretold.delete(id);
    if (outcome?.hasSucceeded && outcome.finishedAt != null)
      this.score(this.finishErrors, id, { foretold, expected: finishAt, actual: outcome.finishedAt.getTime(), pool });
  }

  private score(
    histogram: Histogram,
    generationId: string,
    { foretold, expected, actual, pool }: { foretold: Foretold; expected: number; actual: number; pool: string },
  ): void {
    const waitMs = Math.max(MIN_WAIT_MS, actual - foretold.notedAt);
    const errorMs = expected - actual;
    histogram.observe({ pool }, Math.abs(errorMs) / waitMs);
    const of = histogram === this.startErrors ? "start" : "finish";
    this.services.logger.debug({ generationId, of, waitMs, errorMs }, "estimate compared with what came");
  }
}
