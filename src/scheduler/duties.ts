/** The periodic duties of a dispatcher process, each on its own ticker. */

import type { BatchQueue } from "../generation/batch-queue.ts";
import { deleteOldUses } from "../generation/idempotency.store.ts";
import { asDispatcher } from "../platform/access.ts";
import { Ticker } from "../platform/ticker.ts";
import type { QuotaService } from "../quota/quota.service.ts";
import { driftOf, QuotaCheck, type QuotaReport } from "../quota/quota-check.ts";
import { HistoryPrune } from "../retention/history-prune.ts";
import type { ImagePurge } from "../retention/image-purge.ts";
import { RetentionDuty, type RetentionReport } from "../retention/retention-duty.ts";
import { TenantErasure } from "../retention/tenant-erasure.ts";
import type { AttemptServices } from "./attempt.ts";
import { BatchFeeder } from "./batch-feeder.ts";
import { DeadlineDuty } from "./deadline-duty.ts";
import { EtaScore } from "./eta-score.ts";
import { FairnessDuty } from "./fairness-duty.ts";
import type { PoolForecasts } from "./pool-forecasts.ts";
import { StorageSweep } from "./storage-sweep.ts";
import { UploadExpiry } from "./upload-expiry.ts";

const DEADLINE_MS = 1000;
/** The guarantee behind the doorbell. */
const FEED_MS = 500;
const SWEEP_MS = 10 * 60_000;
const FORGET_MS = 3600_000;
const RETENTION_MS = 10 * 60_000;
const ERASURE_MS = 2000;
const PURGE_MS = 60_000;
const EXPIRY_MS = 60_000;
const CHECK_MS = 24 * 3600_000;
const ETA_SCORE_MS = 5000;
const FAIRNESS_MS = 60_000;
const VACUUM_MS = 60_000;
const IDEMPOTENCY_HOURS = 48;

export interface DutyServices extends AttemptServices {
  readonly batchQueue: BatchQueue;
  readonly purge: ImagePurge;
  readonly quota: QuotaService;
  readonly forecasts: PoolForecasts;
  readonly historyDays: number;
}

export class Duties {
  private readonly tickers: readonly Ticker[];
  private readonly feeding: Ticker;
  private readonly erasing: Ticker;
  private readonly feeder: BatchFeeder;
  private readonly prune: HistoryPrune;
  private leave: () => void = () => {};

  constructor(private readonly services: DutyServices) {
    const { logger, db, purge, metrics, historyDays } = services;
    const deadlines = new DeadlineDuty(services);
    const sweep = new StorageSweep(services);
    const expiry = new UploadExpiry(services);
    const retention = new RetentionDuty(services);
    this.prune = new HistoryPrune({ db, metrics, days: historyDays });
    const duty = (name: string, intervalMs: number, runOnce: () => Promise<unknown>): Ticker =>
      new Ticker({ name, intervalMs, runOnce, logger, metrics });
    const check = new QuotaCheck(services);
    const etaScore = new EtaScore({ ...services, registry: metrics.registry });
    const fairness = new FairnessDuty(services);
    this.feeder = new BatchFeeder(services);
    this.feeding = duty("batches", FEED_MS, () => this.feeder.runOnce());
    const erasure = new TenantErasure(services);
    this.erasing = duty("tenant erasure", ERASURE_MS, () => erasure.runOnce());
    this.tickers = [
      this.feeding,
      this.erasing,
      duty("batch drafts", SWEEP_MS, () => this.feeder.sweepDrafts()),
      duty("deadlines", DEADLINE_MS, () => deadlines.runOnce()),
      duty("storage sweep", SWEEP_MS, () => sweep.runOnce()),
      duty("retention", RETENTION_MS, async () => sumOf(await retention.runOnce())),
      duty("history prune", RETENTION_MS, () => this.prune.runOnce()),
      duty("purge", PURGE_MS, () => purge.runOnce()),
      duty("upload expiry", EXPIRY_MS, () => expiry.runOnce()),
      duty("quota check", CHECK_MS, async () => this.tell(await check.runOnce())),
      duty("eta score", ETA_SCORE_MS, async () => void (await etaScore.runOnce())),
      duty("fairness", FAIRNESS_MS, () => fairness.runOnce()),
      duty("vacuum", VACUUM_MS, () => db.vacuum()),
      duty("forget idempotency keys", FORGET_MS, () =>
        db.transaction(asDispatcher, (tx) => deleteOldUses(tx, IDEMPOTENCY_HOURS)),
      ),
    ];
  }

  start(): void {
    this.leave = this.services.db.doorbell.onRing(() => this.feeding.trigger());
    for (const ticker of this.tickers) ticker.start();
  }

  /** A tenant was erased: what it has need not wait. */
  eraseSoon(): void {
    this.erasing.trigger();
  }

  /** @returns what was mended */
  private tell({ unbalanced, counters, leaked }: QuotaReport): number {
    const { unbalancedTenants, ledgerDrift } = this.services.metrics;
    unbalancedTenants.set(unbalanced.length);
    ledgerDrift.set(unbalanced.reduce((sum, tenant) => sum + driftOf(tenant), 0));
    return counters.length + leaked;
  }

  async stop(): Promise<void> {
    this.leave();
    this.prune.stop();
    await Promise.all([this.feeder.stop(), ...this.tickers.map((ticker) => ticker.stop())]);
    await this.feeder.stop();
  }
}

const sumOf = ({ outputs, inputs, prompts }: RetentionReport): number => outputs + inputs + prompts;
