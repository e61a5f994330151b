/**
 * What every process, and every operator, may know of the workers of a pool: its leader records them when something about
 * them changes, and every few seconds as a sign of life. The other way, it reads there which of them are drained.
 */
import { asDispatcher } from "../platform/access.ts";
import type { Clock } from "../platform/clock.ts";
import type { Database } from "../platform/database.ts";
import { type Drain, listDrains, listQuarantines, type Reporter, saveWorkers } from "../pool/worker.store.ts";
import type { WorkerPool } from "../pool/worker-pool.ts";

export interface RecordServices {
  readonly db: Database;
  readonly pool: WorkerPool;
  readonly clock: Clock;
}

export interface RecordOptions extends Reporter {
  /** What these workers run shall go on elsewhere. */
  readonly onYield: (workers: ReadonlySet<string>) => void;
}

export class WorkerRecords {
  /** What was recorded last, as text; undefined when it shall be recorded anyway. */
  private recorded: string | undefined;
  /** Recorded so far, by worker. */
  private faults: ReadonlyMap<string, number> = new Map();
  private mayHaveWishes = true;

  constructor(
    private readonly services: RecordServices,
    private readonly options: RecordOptions,
  ) {}

  /** Somebody changed something: perhaps which workers are drained. */
  wake(): void {
    this.mayHaveWishes = true;
  }

  /** Whatever was recorded, it is to be recorded again. */
  forget(): void {
    this.recorded = undefined;
  }

  /** This process leads the pool from now on: what its predecessor left alone stays so. */
  async takeOver(): Promise<void> {
    const { db, pool } = this.services;
    pool.restore(await db.transaction(asDispatcher, (tx) => listQuarantines(tx, this.options.pool)));
    this.forget();
  }

  /** Records what has changed, and reads wishes where there may be new ones. Never twice at the same time. */
  async runOnce(): Promise<void> {
    const { db, pool } = this.services;
    if (JSON.stringify(pool.report()) !== this.recorded) return this.record();
    if (!this.mayHaveWishes) return;
    this.mayHaveWishes = false;
    const reading = db.transaction(asDispatcher, (tx) => listDrains(tx, this.options.pool));
    this.obey(await reading.catch((error: unknown) => this.fail(error)));
  }

  /** Whoever does not lead the pool only reads. */
  private async record(): Promise<void> {
    const { db, pool, clock } = this.services;
    const reports = pool.report();
    const now = clock.elapsedMs();
    const news = reports.map(({ faults, quarantinedUntil, ...report }) => ({
      ...report,
      newFaults: faults - (this.faults.get(report.name) ?? 0),
      quarantineMs: quarantinedUntil === undefined ? null : quarantinedUntil - now,
    }));
    this.mayHaveWishes = false;
    const recording = db.transaction(asDispatcher, async (tx) => ({
      isSaved: await saveWorkers(tx, this.options, news),
      drains: await listDrains(tx, this.options.pool),
    }));
    const { isSaved, drains } = await recording.catch((error: unknown) => this.fail(error));
    if (isSaved) this.faults = new Map(reports.map(({ name, faults }) => [name, faults]));
    this.recorded = JSON.stringify(reports);
    this.obey(drains);
  }

  private obey(drains: readonly Drain[]): void {
    this.services.pool.drain(new Set(drains.map(({ name }) => name)));
    this.options.onYield(new Set(drains.filter(({ yields }) => yields).map(({ name }) => name)));
  }

  private fail(error: unknown): never {
    this.mayHaveWishes = true;
    throw error;
  }
}
