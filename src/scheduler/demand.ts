/** How much work waits in each pool, and how many workers are there for it: figures by which workers are added and taken away. */
import { Gauge, type Registry } from "prom-client";
import { countOpenDeadLetters } from "../generation/dead-letter.store.ts";
import { asDispatcher } from "../platform/access.ts";
import type { Clock } from "../platform/clock.ts";
import type { Database, Tx } from "../platform/database.ts";
import { listPools } from "../pool/pool.store.ts";
import { listLive, listWorkers } from "../pool/worker.store.ts";
import { countRunning, listQueuedWork, type QueuedWork } from "./demand.store.ts";
import { listDurations } from "./duration.store.ts";
import { Durations } from "./durations.ts";

/** However often the figures are asked for. */
const KEPT_MS = 5000;

interface PoolDemand {
  readonly pool: string;
  readonly queued: number;
  readonly queuedSeconds: number;
  readonly running: number;
  readonly busyWorkers: number;
  readonly liveWorkers: number;
  readonly quarantinedWorkers: number;
}

interface AllDemand {
  readonly pools: readonly PoolDemand[];
  readonly deadLetters: number;
}

export interface DemandServices {
  readonly db: Database;
  readonly clock: Clock;
  readonly registry: Registry;
}

export class Demand {
  private recent: { readonly readAt: number; readonly read: Promise<AllDemand> } | undefined;

  constructor(private readonly services: DemandServices) {
    this.addGauge("atelier_queued_generations", "Generations that wait, up to 10000", ({ queued }) => queued);
    this.addGauge(
      "atelier_queued_gpu_seconds",
      "Seconds of one worker that the work of atelier_queued_generations is expected to take",
      ({ queuedSeconds }) => queuedSeconds,
    );
    this.addGauge("atelier_running_generations", "Generations that run", ({ running }) => running);
    this.addGauge("atelier_busy_workers", "Workers that run something", ({ busyWorkers }) => busyWorkers);
    this.addGauge("atelier_live_workers", "Workers that may get work", ({ liveWorkers }) => liveWorkers);
    this.addGauge(
      "atelier_quarantined_workers",
      "Workers that failed, and get nothing for a while",
      ({ quarantinedWorkers }) => quarantinedWorkers,
    );
    const deadLetters: Gauge = new Gauge({
      name: "atelier_dead_letters_open",
      help: "Generations that were dead-lettered in the last week and not replayed, of the newest 1000",
      registers: [services.registry],
      collect: async () => deadLetters.set((await this.read()).deadLetters),
    });
  }

  private addGauge(name: string, help: string, figureOf: (demand: PoolDemand) => number): void {
    const gauge = new Gauge({
      name,
      help,
      labelNames: ["pool"],
      registers: [this.services.registry],
      collect: async () => {
        for (const demand of (await this.read()).pools) gauge.set({ pool: demand.pool }, figureOf(demand));
      },
    });
  }

  private read(): Promise<AllDemand> {
    const { db, clock } = this.services;
    const now = clock.elapsedMs();
    if (this.recent !== undefined && now - this.recent.readAt < KEPT_MS) return this.recent.read;
    const read = db.transaction(asDispatcher, async (tx) => ({
      pools: await readPools(tx),
      deadLetters: await countOpenDeadLetters(tx),
    }));
    this.recent = { readAt: now, read };
    read.catch(() => {
      this.recent = undefined;
    });
    return read;
  }
}

async function readPools(tx: Tx): Promise<readonly PoolDemand[]> {
  const demands: PoolDemand[] = [];
  for (const { name: pool } of await listPools(tx)) {
    const durations = new Durations();
    durations.restore(await listDurations(tx, pool));
    const work = await listQueuedWork(tx, pool);
    const sum = (of: (work: QueuedWork) => number): number => work.reduce((total, each) => total + of(each), 0);
    const queuedMs = sum(({ count, ...each }) => count * durations.predict({ ...each, groupPictures: 1 }));
    demands.push({
      pool,
      queued: sum(({ count }) => count),
      queuedSeconds: queuedMs / 1000,
      ...(await countRunning(tx, pool)),
      liveWorkers: (await listLive(tx, pool)).length,
      quarantinedWorkers: (await listWorkers(tx, { pool })).filter((worker) => worker.isQuarantined && !worker.isGone)
        .length,
    });
  }
  return demands;
}
