/**
 * Leads one pool: takes the slots of workers that are idle, or soon, first, claims a group of generations for each, and runs
 * an attempt on every slot that it needs. It may claim only while it holds the pool's lease; attempts go on without it, fenced by leases
 * of their own.
 */

import { asDispatcher } from "../platform/access.ts";
import { newId } from "../platform/ids.ts";
import { Ticker } from "../platform/ticker.ts";
import { savePool } from "../pool/pool.store.ts";
import { Attempt, type AttemptServices } from "./attempt.ts";
import { GroupDeparture } from "./group-departure.ts";
import { extendLeases, listCancelRequested } from "./lease.store.ts";
import { LeaseRescuer } from "./lease-rescuer.ts";
import { type ClaimedGroup, PoolClaims } from "./pool-claims.ts";
import { dropPoolLease, holdsPoolLease, takePoolLease } from "./pool-lease.store.ts";
import { PoolQueue, type Turn } from "./pool-queue.ts";
import { groupsToYield, type RunningMember } from "./preemption.ts";
import { WorkerRecords } from "./worker-records.ts";

const LEASE_SECONDS = 10;
const LEASE_EXTENSION_MS = 3000;
/** The guarantee behind the doorbell. */
const CLAIM_POLL_MS = 500;
/** Between two times that it reads ahead because somebody rang. */
const PREPARE_MS = 20;
const OFFER_MS = 10_000;
/** How often it looks whether there is something new to record of its workers. */
const RECORD_MS = 1000;
/** After a yield was asked for, streams get this long to end. */
const YIELD_GRACE_MS = 10_000;

interface RunningAttempt {
  readonly attempt: Attempt;
  readonly turn: Turn;
  readonly ended: Promise<void>;
}

export interface DispatcherOptions {
  readonly pool: string;
  /** After which waiting BATCH work takes turns with everything else. */
  readonly ageingMs: number;
}

export class Dispatcher {
  /** This process, in leases. */
  private readonly holder = newId();
  /** Running attempts by lease id. */
  private readonly attempts = new Map<string, RunningAttempt>();
  private readonly claiming: readonly Ticker[];
  private readonly keeping: readonly Ticker[];
  private readonly claims: Ticker;
  private readonly cancellations: Ticker;
  private readonly rescuer: LeaseRescuer;
  private readonly queue: PoolQueue;
  private readonly newClaims: PoolClaims;
  private readonly records: WorkerRecords;
  private readonly pool: string;
  private readonly leave: (() => void)[] = [];
  private isLeading = false;
  private prepareAtMs = 0;

  constructor(
    private readonly services: AttemptServices,
    private readonly options: DispatcherOptions,
  ) {
    const { logger, metrics } = services;
    this.pool = options.pool;
    this.queue = new PoolQueue(options);
    const { pool, holder } = this;
    this.newClaims = new PoolClaims(services, this.queue, { pool, holder, leaseSeconds: LEASE_SECONDS });
    this.records = new WorkerRecords(services, { pool, holder, onYield: (workers) => this.yieldOn(workers) });
    this.claims = new Ticker({
      name: "claim",
      intervalMs: CLAIM_POLL_MS,
      runOnce: () => this.claimOnce(),
      logger,
      metrics,
    });
    this.cancellations = new Ticker({
      name: "cancellations",
      intervalMs: LEASE_EXTENSION_MS,
      runOnce: () => this.cancelOnce(),
      logger,
      metrics,
    });
    this.rescuer = new LeaseRescuer(services, options.pool);
    const leases = new Ticker({
      name: "leases",
      intervalMs: LEASE_EXTENSION_MS,
      runOnce: () => this.keepOnce(),
      logger,
      metrics,
    });
    const lead = new Ticker({
      name: "pool lease",
      intervalMs: LEASE_EXTENSION_MS,
      runOnce: () => this.leadOnce(),
      logger,
      metrics,
    });
    const offer = new Ticker({ name: "offer", intervalMs: OFFER_MS, runOnce: () => this.tell(), logger, metrics });
    const records = new Ticker({
      name: "worker records",
      intervalMs: RECORD_MS,
      runOnce: () => this.records.runOnce(),
      logger,
      metrics,
    });
    this.claiming = [lead, offer, records, this.claims];
    this.keeping = [leases, this.cancellations];
  }

  /** Takes a predecessor's attempts over first, when it cannot be alive. */
  async start(): Promise<void> {
    const { pool, db } = this.services;
    if (db.isExclusive) await this.rescuer.runOnce({ all: true });
    await this.leadOnce();
    await this.records.runOnce();
    this.leave.push(
      db.doorbell.onRing(() => this.wake()),
      pool.onChange(() => this.claims.trigger()),
    );
    for (const ticker of [...this.claiming, ...this.keeping]) ticker.start();
  }

  /** Gives the right to claim up at once; lets attempts finish for `graceMs`, then asks them to yield. */
  async stop(graceMs: number): Promise<void> {
    for (const leave of this.leave) leave();
    await Promise.all(this.claiming.map((ticker) => ticker.stop()));
    await this.services.db
      .transaction(asDispatcher, async (tx) => {
        await this.queue.keepDurations(tx);
        if (await holdsPoolLease(tx, this.pool, this.holder)) await this.queue.save(tx);
        await dropPoolLease(tx, this.pool, this.holder);
      })
      .catch((error) => this.services.logger.warn({ err: error }, "pool lease could not be given up: it runs out"));
    await this.allEnded(graceMs);
    await Promise.all([...this.attempts.values()].map(({ attempt }) => attempt.requestYield()));
    await this.allEnded(YIELD_GRACE_MS);
    for (const { attempt } of this.attempts.values()) attempt.hangUp("stop");
    await this.allEnded(YIELD_GRACE_MS);
    await Promise.all(this.keeping.map((ticker) => ticker.stop()));
  }

  /** Its own workers are those that get the pool's work; otherwise another process knows better. */
  get leads(): boolean {
    return this.isLeading;
  }

  /** Records what the live workers offer, so that it can be asked for. @returns whether there is anything */
  async offerOnce(): Promise<boolean> {
    const offers = this.services.pool.offers();
    if (offers.length > 0) await this.services.db.transaction(asDispatcher, (tx) => savePool(tx, this.pool, offers));
    return offers.length > 0;
  }

  /** A sign of life of the workers, too. */
  private async tell(): Promise<void> {
    this.records.forget();
    await this.offerOnce();
  }

  private wake(): void {
    this.records.wake();
    this.queue.rang();
    this.claims.trigger();
    this.cancellations.trigger();
  }

  /** While another process leads, it moves the turns on. */
  private async leadOnce(): Promise<void> {
    const { db } = this.services;
    const lease = { pool: this.pool, holder: this.holder, seconds: LEASE_SECONDS, isExclusive: db.isExclusive };
    const lead = db.transaction(asDispatcher, async (tx) => {
      const isLeading = await takePoolLease(tx, lease);
      if (isLeading) await this.queue.keepDurations(tx);
      else this.queue.forget();
      return isLeading;
    });
    const isLeading = await this.queue.orForget(lead);
    if (isLeading && !this.isLeading) await this.records.takeOver();
    this.isLeading = isLeading;
  }

  private async claimOnce(): Promise<void> {
    const idle = this.services.pool.acquireIdle();
    if (idle.length > 0) await this.newClaims.claim(idle, (group) => this.send(group));
    await this.saveTurns();
    await this.makeRoom();
    await this.prepare();
  }

  /** Reads ahead for the next claim, so that who waits for it does not wait for that. */
  private async prepare(): Promise<void> {
    if (!this.isLeading || performance.now() < this.prepareAtMs) return;
    this.prepareAtMs = performance.now() + PREPARE_MS;
    await this.queue.orForget(this.queue.prepare(this.services.db.singly(asDispatcher)));
  }

  private async saveTurns(): Promise<void> {
    if (!this.queue.hasToSave) return;
    const saving = this.services.db.transaction(asDispatcher, async (tx) => {
      if (await holdsPoolLease(tx, this.pool, this.holder)) await this.queue.save(tx);
      else this.queue.forget();
    });
    await this.queue.orForget(saving);
  }

  /** Asks BATCH that runs, or is on standby, to yield to what waits and is more urgent, when no worker is idle. */
  private async makeRoom(): Promise<void> {
    const { db, clock } = this.services;
    const byWorker = new Map<string, (RunningMember & { readonly attempt: Attempt })[]>();
    for (const { attempt, turn } of this.attempts.values()) {
      const { worker, stepsLeft, isAskedToYield, isOnStandby } = attempt;
      const { priority, createdAt } = turn.candidate;
      if (worker === undefined || this.services.pool.isDraining(worker)) continue;
      const key = `${worker} ${isOnStandby}`;
      const group = byWorker.get(key) ?? [];
      byWorker.set(key, [...group, { attempt, priority, createdAt, stepsLeft, isAskedToYield }]);
    }
    const groups = [...byWorker.values()];
    const now = clock.now();
    const { ageingMs } = this.options;
    const couldYield = groupsToYield(groups, { count: groups.length, now, ageingMs });
    if (couldYield.length === 0) return;
    const presets = [...new Set(couldYield.flat().map(({ attempt }) => attempt.claimed.preset))];
    const counting = async (): Promise<number> => {
      const reading = db.singly(asDispatcher);
      const isLeader = await holdsPoolLease(reading, this.pool, this.holder);
      return isLeader ? this.queue.countForeground(reading, { presets, max: groups.length, now }) : 0;
    };
    const count = await this.queue.orForget(counting());
    for (const group of groupsToYield(groups, { count, now, ageingMs }))
      for (const { attempt } of group) void attempt.requestYield();
  }

  /** What runs on these workers shall go on elsewhere. */
  private yieldOn(workers: ReadonlySet<string>): void {
    for (const { attempt } of this.attempts.values())
      if (attempt.worker !== undefined && workers.has(attempt.worker) && !attempt.isAskedToYield)
        void attempt.requestYield();
  }

  private send(group: ClaimedGroup): void {
    const departure = new GroupDeparture(group.length);
    for (const { claimed, slot, turn } of group) {
      const { generationId: id, seq: milestoneSeq } = claimed;
      this.services.lifecycle.announce({ id, milestoneSeq, state: "RUNNING" });
      this.run(new Attempt({ claimed, slot, departure }, this.services), turn);
    }
  }

  private run(attempt: Attempt, turn: Turn): void {
    const { leaseId } = attempt.claimed;
    const ended = attempt.run().finally(() => {
      this.attempts.delete(leaseId);
      this.queue.ended(turn, { ms: attempt.heldMs, isWhole: attempt.isWhole });
    });
    this.attempts.set(leaseId, { attempt, turn, ended });
  }

  /** Own leases first: one that ran out while this process was held up is still its own. */
  private async keepOnce(): Promise<void> {
    await this.extendOnce();
    await this.rescuer.runOnce({ all: false });
  }

  /** Extends the leases of the attempts that give signs of life, and hangs up on those that must end. */
  private async extendOnce(): Promise<void> {
    for (const { attempt } of this.attempts.values()) {
      if (attempt.isSilent) attempt.hangUp("stuck");
      else void attempt.leaveStandbyIfOverdue();
    }
    const ids = [...this.attempts.keys()];
    if (ids.length === 0) return;
    const extended = await this.services.db.transaction(asDispatcher, (tx) => extendLeases(tx, ids, LEASE_SECONDS));
    const byId = new Map(extended.map((lease) => [lease.leaseId, lease]));
    for (const id of ids) {
      const running = this.attempts.get(id);
      const lease = byId.get(id);
      if (lease?.isCancelRequested) running?.attempt.hangUp("cancel");
      else if (lease?.isPastDeadline) running?.attempt.hangUp("deadline");
      else if (lease === undefined) running?.attempt.hangUp("lost");
    }
  }

  /** Hangs up at once on what was cancelled; extending leases would notice it too, but later. */
  private async cancelOnce(): Promise<void> {
    const ids = [...this.attempts.keys()];
    if (ids.length === 0) return;
    const cancelled = await this.services.db.transaction(asDispatcher, (tx) => listCancelRequested(tx, ids));
    for (const id of cancelled) this.attempts.get(id)?.attempt.hangUp("cancel");
  }

  private async allEnded(withinMs: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, withinMs);
    });
    await Promise.race([Promise.all([...this.attempts.values()].map(({ ended }) => ended)), timeout]);
    clearTimeout(timer);
  }
}
