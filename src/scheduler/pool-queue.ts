/**
 * Whose turn it is in a pool, as the pool's leader knows it: the queues are read for each claim, the tags of the shares are
 * kept here and stored with the claims that move them. Whoever leads next takes up from there.
 */
import type { Tx } from "../platform/database.ts";
import type { IdleWorker, Slot } from "../pool/worker-pool.ts";
import { listDurations, saveDurations } from "./duration.store.ts";
import { Durations, MAX_KNOWN } from "./durations.ts";
import { FairShare, type WaitingQueue } from "./fair-share.ts";
import { fillGroups, type GroupCandidate, picturesOf } from "./group-filling.ts";
import { listHeads, listOldest, listQueues } from "./queue.store.ts";
import { listTags, saveTags } from "./share.store.ts";

/** How many of all that waits, besides those whose turn it is, a claim looks at for company of theirs. */
const LOOK_AHEAD = 32;

/** A generation whose turn it is, and the milliseconds that its share was charged for that. */
export interface Turn {
  readonly candidate: GroupCandidate;
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
  private fair: FairShare | undefined;
  /** What an earlier leader learned was read. */
  private hasDurations = false;

  constructor(private readonly options: { readonly pool: string; readonly ageingMs: number }) {}

  /** Whose turn it is on each of these workers first; then who shares it. Their rows are locked, and they are charged. */
  async choose(tx: Tx, idle: readonly IdleWorker[], now: Date): Promise<readonly ChosenGroup[]> {
    const { pool } = this.options;
    const presets = [...new Set(idle.flatMap((worker) => worker.presets))];
    const fair = await this.read(tx);
    const free = new Set(idle);
    const shelves = new Map<WaitingQueue, GroupCandidate[]>();
    const heads: ChosenHead[] = [];
    for (let queue = fair.next(now); queue !== undefined && free.size > 0; queue = fair.next(now)) {
      const shelf = shelves.get(queue) ?? (await listHeads(tx, { pool, queue, presets, limit: idle.length }));
      shelves.set(queue, shelf);
      const found = firstServed(shelf, free);
      if (found === undefined) {
        fair.remove(queue);
        continue;
      }
      const { candidate: head, worker } = found;
      shelf.splice(shelf.indexOf(head), 1);
      free.delete(worker);
      const aloneMs = this.durations.predict({ ...head, groupPictures: picturesOf(head.task) });
      fair.start(queue, aloneMs);
      heads.push({ head, room: worker.slots.length, slots: worker.slots, aloneMs });
    }
    const hasRoom = heads.some(({ head, room }) => picturesOf(head.task) < room);
    const company = hasRoom ? await listOldest(tx, { pool, presets, limit: LOOK_AHEAD + heads.length }) : [];
    const groups = fillGroups(heads, company);
    return heads.map((head, i) => this.chargeGroup(fair, head, groups[i] ?? []));
  }

  /** A limit refused it at the last moment. */
  refused({ candidate, predictedMs }: Turn): void {
    this.fair?.charge(candidate, -predictedMs);
  }

  /**
   * What was predicted is put right by the milliseconds for which its group held the worker, however it ended.
   * @param isWhole it ran to its end from the beginning: then there is something to learn
   */
  ended(turn: Turn, { ms, isWhole }: { ms: number; isWhole: boolean }): void {
    const { candidate, predictedMs, groupPictures } = turn;
    const own = ms * shareOf(turn);
    this.fair?.charge(candidate, own - predictedMs);
    if (isWhole) this.durations.learn({ ...candidate, groupPictures }, own);
  }

  /** Stores the tags that were moved since the last time. */
  async save(tx: Tx): Promise<void> {
    await saveTags(tx, this.options.pool, this.fair?.takeCharged() ?? []);
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
    this.fair = undefined;
    this.hasDurations = false;
  }

  private async read(tx: Tx): Promise<FairShare> {
    const { pool, ageingMs } = this.options;
    const queues = await listQueues(tx, pool);
    if (this.fair === undefined) {
      this.fair = new FairShare(ageingMs);
      this.fair.restore(await listTags(tx, pool), queues);
    } else this.fair.update(queues);
    return this.fair;
  }

  /** Each for its part; whose turn it was has been charged as if it were drawn alone. */
  private chargeGroup(
    fair: FairShare,
    { head, slots, aloneMs }: ChosenHead,
    members: readonly GroupCandidate[],
  ): ChosenGroup {
    const groupPictures = members.reduce((sum, { task }) => sum + picturesOf(task), 0);
    const turns = members.map((candidate) => {
      const predictedMs = this.durations.predict({ ...candidate, groupPictures });
      fair.charge(candidate, candidate === head ? predictedMs - aloneMs : predictedMs);
      return { candidate, predictedMs, groupPictures };
    });
    return { slots, turns };
  }
}

interface ChosenHead {
  readonly head: GroupCandidate;
  readonly room: number;
  readonly slots: readonly Slot[];
  readonly aloneMs: number;
}

/** The first one whose preset a free worker serves. */
function firstServed(
  shelf: readonly GroupCandidate[],
  free: ReadonlySet<IdleWorker>,
): { readonly candidate: GroupCandidate; readonly worker: IdleWorker } | undefined {
  for (const candidate of shelf) {
    for (const worker of free) if (worker.presets.includes(candidate.preset)) return { candidate, worker };
  }
  return undefined;
}
