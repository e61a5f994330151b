/**
 * What waits in a pool, as the pool's leader knows it, so that a claim costs the same however much waits and however many
 * wait: it reads what came in since the last one, and the heads of the queues whose turn is next, some of each at a time. A
 * claim is conditional, so what is known here may be old; nothing here may be lost, so in doubt it is read again.
 */
import type { Querying } from "../platform/database.ts";
import type { FairShare } from "./fair-share.ts";
import { listFree, listHeads, listQueues, type Place, type QueuedCandidate, readArrivals } from "./queue.store.ts";
import { keyOf, type QueueName, type WaitingQueue } from "./queue-name.ts";
import { NOWHERE, type Tagged, TagHeap } from "./tag-heap.ts";

/** Queues whose heads are read ahead, with the one whose turn it is; more when more workers are idle. */
const READ_AHEAD = 32;
/** Heads of a queue, so that its next turn finds one and it is known who comes after. */
const ENOUGH = 2;
/** Heads that are read at a time, of all these queues together; two of each at least. */
const HEADS_AT_ONCE = 64;
/** Queues whose heads are kept. */
const MAX_SHELVES = 1000;
/** After which queues that a limit or a suspension holds back are looked at again: limits are raised, tenants resumed. */
const HELD_POLL_MS = 500;
/** For so long at most what came in counts as read when nobody rings: that may be lost. */
const KNOWN_MS = 500;
/** After which all queues are read again, though nothing should have been missed. */
const SCAN_MS = 30_000;
/** Part of the time that such looks may take: 1 of so many. */
const TIME_PARTS = 20;

/** Heads of a queue that were read, oldest first. */
interface Shelf {
  readonly candidates: QueuedCandidate[];
  /** Behind which there may be more. */
  last: Place | undefined;
  isComplete: boolean;
}

/** A queue in which something may start from a time on: the tag. */
interface Pause extends Tagged {
  readonly queue: WaitingQueue;
}

export class WaitingQueues {
  private readonly shelves = new Map<string, Shelf>();
  /** By tenant: held back by a limit of what runs, or by a suspension. */
  private readonly held = new Map<string, Map<string, WaitingQueue>>();
  /** By preset: no worker that was idle serves it. */
  private readonly unserved = new Map<string, Map<string, WaitingQueue>>();
  private readonly pauses = new TagHeap<Pause>();
  /** Tenants of whom something ended since the held ones were looked at. */
  private readonly endedOf = new Set<string>();
  /** To be added to the turns, together. */
  private joining: WaitingQueue[] = [];
  private seenUntil: string | undefined;
  /** What the database's clock said, and this process's own when that was read. */
  private read = { databaseMs: 0, ownMs: 0 };
  /** By this process's own clock: till then it need not be read what came in. */
  private knownUntilMs = 0;
  private readAhead = READ_AHEAD;
  private scanAtMs = 0;
  private lookAtMs = 0;

  /** @param fair the turns of the queues of which something may start */
  constructor(
    private readonly pool: string,
    private readonly fair: FairShare,
  ) {}

  /** All that waits, for the first time. */
  async begin(db: Querying): Promise<readonly WaitingQueue[]> {
    await this.note(db); // before the scan: what comes in meanwhile is seen twice
    return this.scan(db);
  }

  /** Between claims: what came in, and the heads of the next turns, so that the next claim finds them read. */
  async prepare(db: Querying): Promise<void> {
    await this.refresh(db, { presets: [], count: this.readAhead });
    await this.listSoon(db, this.readAhead);
  }

  /** Something may have come in since it was last read what did. */
  rang(): void {
    this.knownUntilMs = 0;
  }

  /**
   * Reads what came in, unless that is known, and lets go what may start again.
   * @param presets that idle workers serve
   * @param count of idle workers
   */
  async refresh(db: Querying, { presets, count }: { presets: readonly string[]; count: number }): Promise<void> {
    this.readAhead = Math.max(READ_AHEAD, count);
    if (this.shelves.size > MAX_SHELVES) this.shelves.clear();
    if (performance.now() >= this.knownUntilMs) for (const queue of await this.note(db)) this.arrived(queue);
    for (let pause = this.pauses.first(); pause !== undefined && pause.tag <= this.nowMs; pause = this.pauses.first()) {
      this.pauses.remove(pause);
      this.reread(pause.queue);
    }
    for (const preset of presets) {
      this.joining.push(...(this.unserved.get(preset)?.values() ?? []));
      this.unserved.delete(preset);
    }
    await this.letGo(db);
    if (this.nowMs >= this.scanAtMs) this.reconcile(await this.scan(db));
    this.fair.addAll(this.joining);
    this.joining = [];
  }

  /**
   * The oldest one of a queue whose turn it is; undefined when nothing can start there, and it is not waiting any more, or when
   * its turn came too early: the one whose age it had is gone.
   */
  async head(db: Querying, queue: WaitingQueue): Promise<QueuedCandidate | undefined> {
    const [first] = (await this.stocked(db, queue)).candidates;
    if (first === undefined) this.drop(queue);
    else if (queue.priority === "BATCH" && first.createdAt > queue.since) {
      this.fair.advance(waitingOf(first));
      return undefined;
    }
    return first;
  }

  /** It is about to start. */
  async take(db: Querying, candidate: QueuedCandidate): Promise<void> {
    const { candidates } = await this.stocked(db, candidate);
    const place = candidates.indexOf(candidate);
    if (place >= 0) candidates.splice(place, 1);
    const [next] = (await this.stocked(db, candidate)).candidates;
    if (next === undefined) this.drop(candidate);
    else this.fair.advance({ ...nameOf(candidate), since: next.createdAt });
  }

  /** Some of those that could start soon, those of the next turns first. */
  async listSoon(db: Querying, count: number): Promise<readonly QueuedCandidate[]> {
    const queues = this.fair.peek(count);
    const enough = Math.max(ENOUGH, Math.ceil(count / queues.length));
    const short = queues.filter((queue) => this.isShort(queue, enough));
    if (short.length > 0) await this.stock(db, short);
    const soon = queues.map((queue) => this.shelfOf(queue).candidates);
    const found: QueuedCandidate[] = [];
    for (let depth = 0; found.length < count && soon.some(({ length }) => length > depth); depth++)
      for (const candidates of soon) found.push(...candidates.slice(depth, depth + 1));
    return found.slice(0, count);
  }

  /** Of how many of these queues the first one could start now. */
  async countStartable(db: Querying, queues: readonly WaitingQueue[]): Promise<number> {
    if (queues.length === 0) return 0;
    const free = await listFree(db, queues);
    let count = 0;
    for (const [place, queue] of queues.entries())
      if (free.has(place) && (await this.head(db, queue)) !== undefined) count++;
    return count;
  }

  /** Nothing of the queue can start before its limits have room. */
  hold(candidate: QueuedCandidate): void {
    const queue = waitingOf(candidate);
    this.drop(queue);
    setIn(this.held, queue.tenantId, queue);
  }

  /** No worker that is idle serves its preset. */
  putAside(queue: WaitingQueue): void {
    this.fair.remove(queue);
    setIn(this.unserved, queue.preset, queue);
  }

  /** It did not start, for a reason that is not known here. */
  giveBack(candidate: QueuedCandidate): void {
    const queue = waitingOf(candidate);
    this.shelves.delete(keyOf(queue));
    if (!this.isHeld(queue)) this.fair.add(queue);
  }

  /** Something of the tenant ended: others of it may have room now. */
  ended(tenantId: string): void {
    this.endedOf.add(tenantId);
  }

  private async note(db: Querying): Promise<readonly WaitingQueue[]> {
    this.knownUntilMs = performance.now() + KNOWN_MS; // unless somebody rings while it is read
    const { seenUntil, nowMs, queues } = await readArrivals(db, this.pool, this.seenUntil);
    this.seenUntil = seenUntil;
    this.read = { databaseMs: nowMs, ownMs: performance.now() };
    return queues;
  }

  /** Milliseconds since 1970, by the database's clock: never ahead of it. */
  private get nowMs(): number {
    return this.read.databaseMs + performance.now() - this.read.ownMs;
  }

  private arrived(queue: WaitingQueue): void {
    const shelf = this.shelves.get(keyOf(queue));
    if (shelf?.last !== undefined && shelf.last.createdAt < queue.since && this.fair.has(queue))
      shelf.isComplete = false;
    else this.reread(queue);
  }

  /** Its heads are read again when it is its turn. */
  private reread(queue: WaitingQueue): void {
    this.shelves.delete(keyOf(queue));
    if (!this.isHeld(queue) && !this.unserved.get(queue.preset)?.has(keyOf(queue))) this.joining.push(queue);
  }

  private isHeld(queue: QueueName): boolean {
    return this.held.get(queue.tenantId)?.has(keyOf(queue)) ?? false;
  }

  private drop(queue: QueueName): void {
    this.shelves.delete(keyOf(queue));
    this.fair.remove(queue);
  }

  /** The heads of a queue: some at least, if there are any that can start. */
  private async stocked(db: Querying, queue: QueueName): Promise<Shelf> {
    for (;;) {
      const shelf = this.shelfOf(queue);
      if (shelf.candidates.length > 0 || shelf.isComplete) return shelf;
      await this.stockWith(db, queue);
    }
  }

  /** Reads the next heads of a queue, and of others whose turn is near and of which hardly any are known. */
  private async stockWith(db: Querying, queue: QueueName): Promise<void> {
    const key = keyOf(queue);
    const isNext = (other: QueueName): boolean => keyOf(other) !== key && this.isShort(other, ENOUGH);
    const others = this.fair.peek(this.readAhead).filter(isNext);
    await this.stock(db, [queue, ...others]);
  }

  /** Fewer of its heads are known than are wanted, and there may be more. */
  private isShort(queue: QueueName, wanted: number): boolean {
    const shelf = this.shelves.get(keyOf(queue));
    return shelf === undefined || (!shelf.isComplete && shelf.candidates.length < wanted);
  }

  /** Reads the next heads of these queues. */
  private async stock(db: Querying, queues: readonly QueueName[]): Promise<void> {
    const shelves = queues.map((each) => this.shelfOf(each));
    const limit = Math.max(ENOUGH, 2 ** Math.ceil(Math.log2(HEADS_AT_ONCE / queues.length))); // few different statements
    const wanted = queues.map((each, i) => ({ queue: each, after: shelves[i]?.last }));
    const found = queues.map(() => 0);
    for (const { queue: place, candidate, pausedUntilMs } of await listHeads(db, {
      pool: this.pool,
      queues: wanted,
      limit,
    })) {
      const shelf = shelves[place];
      if (shelf === undefined) continue;
      found[place] = (found[place] ?? 0) + 1;
      shelf.last = candidate;
      if (pausedUntilMs === null || pausedUntilMs <= this.nowMs) shelf.candidates.push(candidate);
      else this.pauses.add({ id: candidate.id, tag: pausedUntilMs, place: NOWHERE, queue: waitingOf(candidate) });
    }
    for (const [place, shelf] of shelves.entries()) shelf.isComplete = (found[place] ?? 0) < limit;
  }

  private shelfOf(queue: QueueName): Shelf {
    const key = keyOf(queue);
    const shelf = this.shelves.get(key) ?? { candidates: [], last: undefined, isComplete: false };
    this.shelves.set(key, shelf);
    return shelf;
  }

  /** Held ones of which something ended at once, all of them now and then. */
  private async letGo(db: Querying): Promise<void> {
    const isTime = this.nowMs >= this.lookAtMs;
    const tenants = isTime ? [...this.held.values()] : [...this.endedOf].flatMap((id) => this.held.get(id) ?? []);
    this.endedOf.clear();
    const queues = tenants.flatMap((ofTenant) => [...ofTenant.values()]);
    if (queues.length === 0) return;
    const begun = performance.now();
    const free = await listFree(db, queues);
    if (isTime) this.lookAtMs = this.nowMs + Math.max(HELD_POLL_MS, TIME_PARTS * (performance.now() - begun));
    for (const [place, queue] of queues.entries()) {
      if (!free.has(place)) continue;
      this.held.get(queue.tenantId)?.delete(keyOf(queue));
      this.reread(queue);
    }
  }

  private async scan(db: Querying): Promise<readonly WaitingQueue[]> {
    const begun = performance.now();
    const queues = await listQueues(db, this.pool);
    this.scanAtMs = this.nowMs + Math.max(SCAN_MS, TIME_PARTS * (performance.now() - begun));
    return queues;
  }

  private reconcile(queues: readonly WaitingQueue[]): void {
    const waiting = new Set(queues.map(keyOf));
    for (const queue of this.fair.queues()) if (!waiting.has(keyOf(queue))) this.drop(queue);
    for (const group of [...this.held.values(), ...this.unserved.values()])
      for (const key of group.keys()) if (!waiting.has(key)) group.delete(key);
    for (const queue of queues) if (!this.fair.has(queue)) this.arrived(queue);
  }
}

const nameOf = ({ tenantId, userId, apiKeyId, priority, preset }: QueueName): QueueName => ({
  tenantId,
  userId,
  apiKeyId,
  priority,
  preset,
});

const waitingOf = (candidate: QueuedCandidate): WaitingQueue => ({ ...nameOf(candidate), since: candidate.createdAt });

function setIn(groups: Map<string, Map<string, WaitingQueue>>, group: string, queue: WaitingQueue): void {
  const queues = groups.get(group) ?? new Map<string, WaitingQueue>();
  groups.set(group, queues.set(keyOf(queue), queue));
}
