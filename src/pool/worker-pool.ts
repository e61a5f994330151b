/**
 * The workers of one pool and their slots. Capacity is a slot that one holds: nothing is claimed without one.
 */
import type { DescribeResponse } from "../../proto/gen/inference/v1/inference.ts";
import type { Clock } from "../platform/clock.ts";
import type { Logger } from "../platform/logger.ts";
import { type PresetOffer, presetOfferSchema } from "./pool.store.ts";
import { offersOf } from "./worker-call.ts";
import { WorkerConnection } from "./worker-connection.ts";
import type { WorkerAddress, WorkerDiscovery } from "./worker-discovery.ts";
import { WorkerFaults } from "./worker-faults.ts";

/** How long a worker at least gets nothing that surely does not work. */
const QUARANTINE_MS = 10_000;
/** How long it gets nothing after its first refusal; twice as long after each further one, up to QUARANTINE_MS. */
const REFUSAL_PAUSE_MS = 200;
/** A worker that refuses for this long although no attempt holds its slots is stuck: an abandoned one ends within a step. */
const MAX_REFUSING_MS = 120_000;

/**
 * Before the end of what runs, what comes next is claimed: half as long again before it as the longest of the last claims
 * took until it was sent, within these bounds.
 */
const AHEAD_FACTOR = 1.5;
const MIN_AHEAD_MS = 150;
const MAX_AHEAD_MS = 500;
const COUNTED_CLAIMS = 8;

/** The right to run one attempt on a worker: now, or once what it runs has ended. */
export interface Slot {
  readonly worker: WorkerConnection;
  /** On standby: milliseconds after which what the worker runs is expected to have taken its steps. Undefined where it runs nothing. */
  readonly standbyMs: number | undefined;
  /** Since when the worker has run nothing, in milliseconds since the epoch; undefined on standby. */
  readonly idleSince: number | undefined;
  /** What was on standby behind the attempt has begun: the worker has only to hand over what it drew. */
  readonly isOvertaken: boolean;
  /** The attempt was claimed and is ready to be sent. */
  send(): void;
  /** The worker has begun with the attempt. */
  begin(): void;
  /** The attempt is expected to have taken its steps in so many milliseconds: near that end, what comes next is sent ahead. */
  expectEnd(ms: number, progress: { readonly isInLastStep: boolean }): void;
  /** The attempt waited for too long on standby: behind those that run now nothing is sent ahead any more. */
  expire(): void;
  /** The attempt is over. */
  release(): void;
  /** Nothing was run: nobody needs to look again. */
  putBack(): void;
}

/** A worker that runs nothing, or soon, with all its slots. */
export interface IdleWorker {
  /** That it serves. */
  readonly presets: readonly string[];
  readonly slots: readonly Slot[];
}

/** A worker that serves now. */
export interface LiveWorker {
  readonly name: string;
  readonly presets: readonly string[];
  readonly slots: number;
}

/** What is recorded of a worker. */
export interface WorkerReport {
  readonly name: string;
  /** 0 while it does not serve. */
  readonly slots: number;
  readonly standby: number;
  readonly presets: readonly { readonly name: string; readonly buildDigest: string }[];
  /** Times that it was quarantined. */
  readonly faults: number;
  /** By the clock's elapsed milliseconds. */
  readonly quarantinedUntil: number | undefined;
}

/** A slot that somebody holds. */
interface Held {
  /** When its attempt is expected to have taken its steps, by the clock's elapsed milliseconds; undefined while that is far away. */
  endsAt: number | undefined;
  /** What waited behind it waited for too long. */
  hasExpired: boolean;
  isOvertaken: boolean;
}

interface Member {
  readonly connection: WorkerConnection;
  /** Slots that it has while it serves. */
  slots: number;
  standby: number;
  offers: readonly PresetOffer[];
  readonly running: Set<Held>;
  /** On standby behind those that run. */
  readonly waiting: Set<Held>;
  /** When it became ready, or what it ran last ended, by the clock's elapsed milliseconds. */
  idleSince: number;
  faults: number;
  /** In milliseconds since the epoch. */
  quarantinedUntil: number;
  /** Gets nothing before this time, by the clock's elapsed milliseconds. */
  pausedUntil: number;
  /** Since its first refusal with none accepted in between. */
  refusing: { readonly since: number; pauseMs: number } | undefined;
}

export class WorkerPool {
  private readonly members = new Map<string, Member>();
  private readonly changed = new Set<() => void>();
  /** Milliseconds that the last claims for standby took until they were sent. */
  private claimsMs: readonly number[] = [];
  private readonly faults = new WorkerFaults();
  /** Until when, by the clock's elapsed milliseconds, those that are not here yet are left alone. */
  private readonly restored = new Map<string, number>();
  /** Names of workers, also of such that are not there, that get nothing more. */
  private draining: ReadonlySet<string> = new Set();

  constructor(
    private readonly discovery: WorkerDiscovery,
    private readonly clock: Clock,
    private readonly logger: Logger,
  ) {}

  async start(): Promise<void> {
    await this.discovery.start({ found: (worker) => this.add(worker), lost: (name) => this.remove(name) });
  }

  /** Tells `listener` when slots may have become free or workers have come or gone. */
  onChange(listener: () => void): () => void {
    this.changed.add(listener);
    return () => this.changed.delete(listener);
  }

  /** What the workers that are ready offer, each preset once. */
  offers(): readonly PresetOffer[] {
    const byName = new Map<string, PresetOffer>();
    for (const { offers } of this.members.values()) for (const offer of offers) byName.set(offer.name, offer);
    return [...byName.values()];
  }

  /** The workers that get work now, in the order in which they do. */
  live(): readonly LiveWorker[] {
    return [...this.members].flatMap(([name, { slots, offers }]) =>
      slots > 0 && !this.draining.has(name) ? [{ name, presets: offers.map((offer) => offer.name), slots }] : [],
    );
  }

  /** All of them, ready or not. */
  report(): readonly WorkerReport[] {
    const now = this.now();
    return [...this.members].map(([name, { slots, standby, offers, faults, quarantinedUntil }]) => ({
      name,
      slots,
      standby,
      presets: offers.map((offer) => ({ name: offer.name, buildDigest: offer.buildDigest })),
      faults,
      quarantinedUntil: quarantinedUntil > now ? quarantinedUntil : undefined,
    }));
  }

  /** These get nothing more, and all others do again. What they run goes on. */
  drain(names: ReadonlySet<string>): void {
    const isRelease = [...this.draining].some((name) => !names.has(name));
    this.draining = names;
    if (isRelease) this.notify();
  }

  isDraining(name: string): boolean {
    return this.draining.has(name);
  }

  /**
   * Takes all slots of the workers that run nothing; behind them, on standby, those of workers whose attempts are all about to
   * end. Any other one gets nothing more before it is done: only attempts that start together share their graph runs, a later
   * one would take turns with them and make all of them late.
   */
  acquireIdle(): readonly IdleWorker[] {
    const now = this.now();
    const able = [...this.members]
      .filter(([name, { slots, pausedUntil }]) => slots > 0 && pausedUntil <= now && !this.draining.has(name))
      .map(([, member]) => member);
    const idle = able.filter(({ running, waiting }) => running.size + waiting.size === 0);
    const soonIdle = able.flatMap((member) => {
      const standbyMs = this.endsInMs(member);
      return standbyMs === undefined ? [] : [{ member, standbyMs }];
    });
    return [...idle.map((member) => ({ member, standbyMs: undefined })), ...soonIdle].map(({ member, standbyMs }) => ({
      presets: member.offers.map(({ name }) => name),
      slots: this.acquireAll(member, standbyMs),
    }));
  }

  /** Until all that runs on a worker whose standby is free has taken its steps; undefined while that is far away. */
  private endsInMs({ standby, running, waiting }: Member): number | undefined {
    if (standby === 0 || waiting.size > 0 || running.size === 0) return undefined;
    const ends = [...running].map(({ endsAt }) => endsAt ?? Number.POSITIVE_INFINITY);
    const endsAt = Math.max(...ends);
    return endsAt === Number.POSITIVE_INFINITY ? undefined : Math.max(0, endsAt - this.now());
  }

  private get aheadMs(): number {
    return Math.min(MAX_AHEAD_MS, Math.max(MIN_AHEAD_MS, ...this.claimsMs.map((ms) => AHEAD_FACTOR * ms)));
  }

  private acquireAll(member: Member, standbyMs: number | undefined): readonly Slot[] {
    const together = new Set<Held>();
    return Array.from({ length: member.slots }, () => this.acquire(member, { standbyMs, together }));
  }

  /** @param together those that are acquired at the same time */
  private acquire(
    member: Member,
    { standbyMs, together }: { readonly standbyMs: number | undefined; readonly together: Set<Held> },
  ): Slot {
    const { running, waiting } = member;
    const held: Held = { endsAt: undefined, hasExpired: false, isOvertaken: false };
    together.add(held);
    const acquiredAt = this.now();
    if (standbyMs === undefined) running.add(held);
    else waiting.add(held);
    const putBack = (): void => {
      running.delete(held);
      waiting.delete(held);
    };
    return {
      worker: member.connection,
      standbyMs,
      idleSince: standbyMs === undefined ? Math.max(member.idleSince, member.pausedUntil) : undefined,
      get isOvertaken() {
        return held.isOvertaken;
      },
      send: () => {
        if (standbyMs !== undefined) this.claimsMs = [...this.claimsMs, this.now() - acquiredAt].slice(-COUNTED_CLAIMS);
      },
      begin: () => {
        member.refusing = undefined;
        if (!waiting.delete(held)) return;
        for (const each of running) each.isOvertaken ||= !together.has(each);
        running.add(held);
      },
      expectEnd: (ms, { isInLastStep }) => {
        if (held.endsAt !== undefined || held.hasExpired || !(isInLastStep || ms <= this.aheadMs)) return;
        held.endsAt = this.now() + ms;
        if (this.endsInMs(member) !== undefined) this.notify();
      },
      expire: () => {
        for (const each of running) Object.assign(each, { endsAt: undefined, hasExpired: true });
      },
      putBack,
      release: () => {
        putBack();
        if (running.size + waiting.size === 0) member.idleSince = this.now();
        this.notify();
      },
    };
  }

  /**
   * The worker failed: leave it alone for a while if it is to blame. To be called once for all that it ran.
   * @param suspects generations that it ran
   * @param isFaulty it does not work, whatever it ran
   */
  failed(name: string, { suspects, isFaulty }: { suspects: readonly string[]; isFaulty: boolean }): void {
    const ms = this.faults.failed(name, suspects) ?? (isFaulty ? QUARANTINE_MS : undefined);
    const member = this.members.get(name);
    if (member === undefined) this.faults.forget(name);
    else if (ms !== undefined) this.quarantine(name, member, ms);
  }

  /** What an earlier leader of the pool left alone stays so, also when it is not here yet. */
  restore(quarantines: readonly { readonly name: string; readonly ms: number }[]): void {
    if (!this.discovery.areElsewhere) return; // new ones have their names
    for (const { name, ms } of quarantines) {
      this.faults.restore(name, ms);
      this.restored.set(name, this.now() + ms);
      const member = this.members.get(name);
      if (member !== undefined) this.keepQuarantine(name, member);
    }
  }

  private keepQuarantine(name: string, member: Member): void {
    const ms = (this.restored.get(name) ?? 0) - this.now();
    this.restored.delete(name);
    if (ms <= 0) return;
    this.pause(member, ms);
    member.quarantinedUntil = member.pausedUntil;
  }

  /** The worker finished something. */
  succeeded(name: string): void {
    this.faults.forget(name);
  }

  /** The worker is to be replaced, and gets nothing for a while. */
  stuck(name: string): void {
    const member = this.members.get(name);
    if (member === undefined) return;
    if (member.quarantinedUntil <= this.now()) this.quarantine(name, member, QUARANTINE_MS);
    this.discovery.reportStuck(name);
  }

  private quarantine(name: string, member: Member, ms: number): void {
    this.logger.warn({ worker: name, ms }, "worker quarantined");
    member.faults++;
    this.pause(member, ms);
    member.quarantinedUntil = member.pausedUntil;
  }

  /** The worker had no slot although one was free here: an attempt that was hung up on still computes, or it is stuck. */
  refused(name: string): void {
    const member = this.members.get(name);
    if (member === undefined) return;
    member.refusing ??= { since: this.now(), pauseMs: REFUSAL_PAUSE_MS };
    const { since, pauseMs } = member.refusing;
    if (this.now() - since >= MAX_REFUSING_MS) {
      member.refusing = undefined;
      this.stuck(name);
      return;
    }
    member.refusing.pauseMs = Math.min(2 * pauseMs, QUARANTINE_MS);
    this.pause(member, pauseMs);
  }

  async stop(): Promise<void> {
    await this.discovery.stop();
    for (const { connection } of this.members.values()) connection.close();
    this.members.clear();
  }

  private add(worker: WorkerAddress): void {
    const connection = new WorkerConnection(
      worker,
      {
        ready: (description) => this.describe(worker.name, description),
        notReady: () => this.describe(worker.name, undefined),
        unreachable: () => this.discovery.reportStuck(worker.name),
      },
      this.logger,
    );
    const idle = {
      running: new Set<Held>(),
      waiting: new Set<Held>(),
      idleSince: 0,
      faults: 0,
      quarantinedUntil: 0,
      pausedUntil: 0,
      refusing: undefined,
    };
    const member = { connection, slots: 0, standby: 0, offers: [], ...idle };
    this.members.set(worker.name, member);
    this.keepQuarantine(worker.name, member);
  }

  private remove(name: string): void {
    this.members.get(name)?.connection.close();
    this.members.delete(name);
    this.faults.forget(name);
    this.notify();
  }

  private describe(name: string, description: DescribeResponse | undefined): void {
    const member = this.members.get(name);
    if (member === undefined || (member.slots === 0 && description === undefined)) return;
    const offers = presetOfferSchema.array().safeParse(offersOf(description ?? { presets: [] }));
    if (!offers.success) this.logger.error({ worker: name, err: offers.error }, "worker's offer cannot be understood");
    if (member.slots === 0) member.idleSince = this.now();
    member.slots = offers.success ? (description?.slots ?? 0) : 0;
    member.standby = description?.standby ?? 0;
    member.offers = offers.data ?? [];
    this.logger.info({ worker: name, slots: member.slots }, "worker readiness changed");
    this.notify();
  }

  private pause(member: Member, ms: number): void {
    member.pausedUntil = this.now() + ms;
    setTimeout(() => this.notify(), ms).unref();
  }

  private now(): number {
    return this.clock.elapsedMs();
  }

  private notify(): void {
    for (const listener of this.changed) listener();
  }
}
