/**
 * Whose turn it is in a pool, as the pool's leader knows it: the tags of the shares are kept here and stored every second.
 * Whoever leads next takes up from there, and from what began and ended since.
 */
import type { Querying, Tx } from "../platform/database.ts";
import type { IdleWorker, Slot } from "../pool/worker-pool.ts";
import { listDurations, saveDurations } from "./duration.store.ts";
import { Durations, MAX_KNOWN } from "./durations.ts";
import { FairShare } from "./fair-share.ts";
import { fillGroups, picturesOf } from "./group-filling.ts";
import type { QueuedCandidate } from "./queue.store.ts";
import { readTurns, saveTurns } from "./share.store.ts";
import { WaitingQueues } from "./waiting-queues.ts";

/** How many of those whose turns come next a claim looks at for company. */
export const LOOK_AHEAD = 32;
/** Between two times that tags are stored. What began and ended since then is known from the attempts. */
const SAVE_MS = 1000;

/** A generation whose turn it is, and the milliseconds that its share was charged for that. */
export interface Turn {
  readonly candidate: QueuedCandidate;
  readonly predictedMs: number;
  /** Of the pictures that are drawn together. */
  readonly groupPictures: number;
}

/** Its own part of the work of its group. */
export const shareOf = ({ candidate, groupPictures }: Turn): number => picturesOf(candidate.task) / groupPictures;

/** Those that start together on one worker. */
export interface ChosenGroup {
  readonly slots: readonly Slot[];
  readonly turns: readonly Turn[];
}

export class PoolQueue {
  private readonly durations = new Durations();
  /** Undefined until tags were read, and when what is known here may not be what is stored. */
  private known: { readonly fair: FairShare; readonly waiting: WaitingQueues } | undefined;
  private saveAtMs = 0;
  /** What an earlier leader learned was read. */
  private hasDurations = false;

  constructor(private readonly options: { readonly pool: string; readonly ageingMs: number }) {}

  /** Whose turn it is on each of these workers first; then who shares it. They are charged. */
  async choose(db: Querying, idle: readonly IdleWorker[], now: Date): Promise<readonly ChosenGroup[]> {
    const { fair, waiting } = await this.read(db);
    await waiting.refresh(db, {
      presets: [...new Set(idle.flatMap((worker) => worker.presets))],
      count: idle.length,
    });
    const free = new Set(idle);
    const heads: ChosenHead[] = [];
    for (let queue = fair.next(now); queue !== undefined && free.size > 0; queue = fair.next(now)) {
      const { preset } = queue;
      const worker = firstOf(free, preset);
      if (worker === undefined) {
        waiting.putAside(queue);
        continue;
      }
      const head = await waiting.head(db, queue);
      if (head === undefined) continue;
      free.delete(worker);
      const aloneMs = this.durations.predict({ ...head, groupPictures: picturesOf(head.task) });
      fair.start(head, aloneMs);
      await waiting.take(db, head);
      heads.push({ head, room: worker.slots.length, slots: worker.slots, aloneMs });
    }
    const hasRoom = heads.some(({ head, room }) => picturesOf(head.task) < room);
    const groups = fillGroups(heads, hasRoom ? await waiting.listSoon(db, LOOK_AHEAD) : []);
    const chosen: ChosenGroup[] = [];
    for (const [i, head] of heads.entries()) {
      const [, ...company] = groups[i] ?? [];
      for (const member of company) {
        fair.accompany(member);
        await waiting.take(db, member);
      }
      chosen.push(this.chargeGroup(fair, head, company));
    }
    return chosen;
  }

  /** Something may have come in. Unless it is told so, what it reads is known for half a second. */
  rang(): void {
    this.known?.waiting.rang();
  }

  /** Between claims: reads ahead what the next one needs. */
  async prepare(db: Querying): Promise<void> {
    const { waiting } = await this.read(db);
    await waiting.prepare(db);
  }

  /** How many tenants have something waiting that could start on a worker of these presets and is more urgent than BATCH; up to `max`. */
  async countForeground(
    db: Querying,
    { presets, max, now }: { presets: readonly string[]; max: number; now: Date },
  ): Promise<number> {
    const { fair, waiting } = await this.read(db);
    await waiting.refresh(db, { presets, count: 0 });
    const queues = fair.foregroundQueues(max, now).filter(({ preset }) => presets.includes(preset));
    return waiting.countStartable(db, queues);
  }

  /** It did not start: the limits of its queue have no room, or something else came before. */
  refused({ candidate, predictedMs }: Turn, { isHeld }: { isHeld: boolean }): void {
    this.known?.fair.charge(candidate, -predictedMs);
    if (isHeld) this.known?.waiting.hold(candidate);
    else this.known?.waiting.giveBack(candidate);
  }

  /**
   * What was predicted is put right by the milliseconds for which its group held the worker, however it ended.
   * @param isWhole it ran to its end from the beginning: then there is something to learn
   */
  ended(turn: Turn, { ms, isWhole }: { ms: number; isWhole: boolean }): void {
    const { candidate, predictedMs, groupPictures } = turn;
    const own = ms * shareOf(turn);
    this.known?.fair.charge(candidate, own - predictedMs);
    this.known?.waiting.ended(candidate.tenantId);
    if (isWhole) this.durations.learn({ ...candidate, groupPictures }, own);
  }

  /** Tags were moved that are worth storing now: new ones at once, others every second. */
  get hasToSave(): boolean {
    const { fair } = this.known ?? {};
    return fair !== undefined && (fair.hasNewlyCharged || (fair.wasCharged && performance.now() >= this.saveAtMs));
  }

  /** Stores the tags that were moved since the last time. To be called when no claim is under way. */
  async save(tx: Tx): Promise<void> {
    this.saveAtMs = performance.now() + SAVE_MS;
    if (this.known !== undefined) await saveTurns(tx, this.options.pool, this.known.fair.takeCharged());
  }

  /** Stores what was learned since the last time; first reads what others had learned. */
  async keepDurations(tx: Tx): Promise<void> {
    const { pool } = this.options;
    if (!this.hasDurations) this.durations.restore(await listDurations(tx, pool));
    this.hasDurations = true;
    await saveDurations(tx, { pool, learned: this.durations.takeLearned(), max: MAX_KNOWN });
  }

  /** A claim failed, or another process leads: what is stored is read again before the next one. */
  forget(): void {
    this.known = undefined;
    this.hasDurations = false;
  }

  /** What is known of the turns must be what is stored: after something failed it is read again. */
  async orForget<T>(work: Promise<T>): Promise<T> {
    return work.catch((error: unknown) => {
      this.forget();
      throw error;
    });
  }

  private async read(db: Querying): Promise<{ readonly fair: FairShare; readonly waiting: WaitingQueues }> {
    if (this.known !== undefined) return this.known;
    const { pool, ageingMs } = this.options;
    const fair = new FairShare(ageingMs);
    const waiting = new WaitingQueues(pool, fair);
    fair.restore(await readTurns(db, pool), await waiting.begin(db));
    this.known = { fair, waiting };
    return this.known;
  }

  /** Each for its part; whose turn it was has been charged as if it were drawn alone. */
  private chargeGroup(
    fair: FairShare,
    { head, slots, aloneMs }: ChosenHead,
    company: readonly QueuedCandidate[],
  ): ChosenGroup {
    const members = [head, ...company];
    const groupPictures = members.reduce((sum, { task }) => sum + picturesOf(task), 0);
    const turns = members.map((candidate) => {
      const predictedMs = this.durations.predict({ ...candidate, groupPictures });
      if (candidate !== head) fair.charge(candidate, predictedMs);
      else if (predictedMs !== aloneMs) fair.charge(candidate, predictedMs - aloneMs);
      return { candidate, predictedMs, groupPictures };
    });
    return { slots, turns };
  }
}

/** Without a copy of them all: there may be as many as turns. */
function firstOf(free: ReadonlySet<IdleWorker>, preset: string): IdleWorker | undefined {
  for (const worker of free) if (worker.presets.includes(preset)) return worker;
  return undefined;
}

interface ChosenHead {
  readonly head: QueuedCandidate;
  readonly room: number;
  readonly slots: readonly Slot[];
  readonly aloneMs: number;
}
