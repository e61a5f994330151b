/**
 * The scheduler's decisions over arrays: turns, company and what work is expected to take are the scheduler's own; what SQL
 * does with rows (queues, their order, limits, states) is done here, as plainly as can be.
 */
import type { GenerationState } from "../../src/generated/prisma/enums.ts";
import { Durations } from "../../src/scheduler/durations.ts";
import { FairShare, type StoredTag } from "../../src/scheduler/fair-share.ts";
import { fillGroups, type GroupCandidate, picturesOf } from "../../src/scheduler/group-filling.ts";
import { LOOK_AHEAD } from "../../src/scheduler/pool-queue.ts";
import type { QueueName, WaitingQueue } from "../../src/scheduler/queue-name.ts";
import { EPOCH_MS, taskOf, type Wanted } from "./scenario.ts";
import type { AttemptEnd, Begun, IdleWorkerOf, World } from "./world.ts";

const MAX_FAILURES = 3;
const MAX_CLAIM_ROUNDS = 4;

export interface MemoryOptions {
  readonly ageingMs?: number;
  /** What is expected of it; learned from what ran unless given. */
  readonly predict?: (wanted: Wanted) => number;
  /** Generations of a tenant that may run at a time. */
  readonly caps?: Readonly<Record<string, number>>;
}

interface Waiting extends GroupCandidate {
  readonly wanted: Wanted;
  readonly weight: number;
  readonly line: Line;
}

interface Line {
  readonly queue: QueueName;
  /** Oldest first. */
  readonly items: Wanted[];
  /** Where it begins. */
  first: number;
  /** What the turns were told of it last. */
  told: WaitingQueue | undefined;
}

interface Charged {
  readonly waiting: Waiting;
  readonly predictedMs: number;
  readonly groupPictures: number;
}

interface Head {
  readonly head: Waiting;
  readonly room: number;
  readonly worker: IdleWorkerOf;
  readonly aloneMs: number;
}

export class MemoryWorld implements World {
  decisions = 0;
  private fair: FairShare;
  private readonly durations = new Durations();
  /** By tenant. */
  private readonly lines = new Map<string, Line[]>();
  /** By tenant: those that a cap holds back. */
  private readonly held = new Map<string, Set<Line>>();
  private readonly endedOf = new Set<string>();
  private readonly uncapped = new Set<string>();
  /** By preset: those that no idle worker serves. */
  private readonly unserved = new Map<string, Set<Line>>();
  private readonly runningOf = new Map<string, number>();
  private readonly running = new Map<string, Charged>();
  private readonly paused = new Set<Wanted>();
  /** They began before. */
  private readonly tried = new Set<Wanted>();
  private readonly failures = new Map<string, number>();
  private readonly tags = new Map<string, StoredTag>();

  constructor(private readonly options: MemoryOptions = {}) {
    this.fair = new FairShare(options.ageingMs ?? 600_000);
  }

  queue(wanted: Wanted): void {
    this.put(wanted);
  }

  claim(idle: readonly IdleWorkerOf[], now: number): readonly (readonly Begun[])[] {
    const groups: (readonly Begun[])[] = [];
    let left = idle;
    for (let round = 0; left.length > 0 && round < MAX_CLAIM_ROUNDS; round++) {
      this.refresh(left);
      const heads = this.chooseHeads(left, now);
      const served = this.startAll(heads).filter((group) => group.length > 0);
      groups.push(...served);
      if (served.length === heads.length) break;
      const used = new Set(served.flatMap((group) => group.map(({ worker }) => worker)));
      left = left.filter(({ name }) => !used.has(name));
    }
    return groups;
  }

  countForeground(max: number, now: number): number {
    this.refresh([]);
    const queues = this.fair.foregroundQueues(max, new Date(EPOCH_MS + now));
    return queues.filter(({ tenantId }) => !this.isFull(tenantId)).length;
  }

  end({ id }: Begun, end: AttemptEnd): GenerationState {
    const charged = this.running.get(id);
    if (charged === undefined) throw new Error(`${id} does not run`);
    const { waiting, predictedMs, groupPictures } = charged;
    const { tenantId } = waiting;
    this.running.delete(id);
    this.runningOf.set(tenantId, (this.runningOf.get(tenantId) ?? 1) - 1);
    const ownMs = (end.heldMs * picturesOf(waiting.task)) / groupPictures;
    const state = this.stateAfter(id, end);
    this.fair.charge(waiting, ownMs - predictedMs);
    this.endedOf.add(tenantId);
    if (end.isWhole && this.options.predict === undefined) this.durations.learn({ ...waiting, groupPictures }, ownMs);
    if (state !== "QUEUED") this.tried.delete(waiting.wanted);
    else {
      this.tried.add(waiting.wanted);
      this.put(waiting.wanted);
    }
    return state;
  }

  drop(wanted: Wanted): void {
    if (!this.paused.delete(wanted)) this.take(wanted, this.lineOf(wanted));
  }

  readonly pauses = {
    begin: (wanted: Wanted): void => {
      this.take(wanted, this.lineOf(wanted));
      this.paused.add(wanted);
    },
    end: (wanted: Wanted): void => {
      if (this.paused.delete(wanted)) this.put(wanted);
    },
  };

  /** As many as it likes may run. */
  uncap(tenantId: string): void {
    this.uncapped.add(tenantId);
    this.endedOf.add(tenantId);
  }

  /** Another process leads from now on: it knows what was stored, and what waits. */
  changeLeader(): void {
    this.save();
    const floors = this.fair.takeCharged().floors;
    this.fair = new FairShare(this.options.ageingMs ?? 600_000);
    for (const held of [this.held, this.unserved]) held.clear();
    const queues = [...this.lines.values()].flat().flatMap((line) => this.shown(line) ?? []);
    this.fair.restore({ floors, tags: [...this.tags.values()] }, queues);
  }

  private save(): void {
    for (const tag of this.fair.takeCharged().tags) this.tags.set(`${tag.tenantId} ${tag.userId}`, tag);
  }

  private stateAfter(id: string, { outcome, counts }: AttemptEnd): GenerationState {
    switch (outcome) {
      case "DONE":
        return "SUCCEEDED";
      case "REFUSED":
        return "FAILED";
      case "CANCELED":
        return "CANCELED";
      case "YIELDED":
        return "QUEUED";
      case "LOST": {
        const failures = (this.failures.get(id) ?? 0) + (counts ? 1 : 0);
        this.failures.set(id, failures);
        return failures < MAX_FAILURES ? "QUEUED" : "DEAD_LETTERED";
      }
    }
  }

  private lineOf(queue: QueueName): Line {
    const { tenantId, userId, apiKeyId, priority, preset } = queue;
    const ofTenant = this.lines.get(tenantId) ?? [];
    const known = ofTenant.find(({ queue: other }) => isSame(queue, other));
    if (known !== undefined) return known;
    const line = { queue: { tenantId, userId, apiKeyId, priority, preset }, items: [], first: 0, told: undefined };
    this.lines.set(tenantId, ofTenant);
    ofTenant.push(line);
    return line;
  }

  private put(wanted: Wanted): void {
    const line = this.lineOf(wanted);
    let place = line.items.length;
    if (isBefore(wanted, line.items.at(-1))) {
      for (place = line.first; !isBefore(wanted, line.items[place]); ) place++;
      line.items.splice(place, 0, wanted);
    } else line.items.push(wanted);
    if (place === line.first && !this.isAway(line)) this.show(line);
  }

  private waitingOf(wanted: Wanted, line: Line): Waiting {
    const { id, tenantId, userId, apiKeyId, priority, preset, weight } = wanted;
    const [task, isNew] = [taskOf(wanted), !this.tried.has(wanted)];
    return { id, tenantId, userId, apiKeyId, priority, preset, weight, line, wanted, task, isNew, suspicion: null };
  }

  private isAway(line: Line): boolean {
    const { tenantId, preset } = line.queue;
    return Boolean(this.held.get(tenantId)?.has(line) || this.unserved.get(preset)?.has(line));
  }

  /** Tells the turns what is the oldest of a queue. */
  private show(line: Line): void {
    const shown = this.shown(line);
    if (shown === undefined) this.fair.remove(line.queue);
    else this.fair.advance(shown);
  }

  private shown(line: Line): WaitingQueue | undefined {
    const head = line.items[line.first];
    if (head === undefined) return undefined;
    const since = EPOCH_MS + head.arrivesAt;
    if (line.told?.since.getTime() !== since) line.told = { ...line.queue, since: new Date(since) };
    return line.told;
  }

  private take(wanted: Wanted, line: Line): void {
    if (line.items[line.first] === wanted) line.first++;
    else {
      const place = line.items.indexOf(wanted, line.first);
      if (place < 0) throw new Error(`${wanted.id} does not wait`);
      line.items.splice(place, 1);
    }
    if (line.first > 1000 || line.first === line.items.length) {
      line.items.splice(0, line.first);
      line.first = 0;
    }
    if (!this.isAway(line)) this.show(line);
  }

  /** Whoever a cap held back may come again when something of its tenant has ended; and what idle workers serve. */
  private refresh(idle: readonly IdleWorkerOf[]): void {
    const back: Line[] = [];
    for (const { presets } of idle)
      for (const preset of presets) {
        const lines = this.unserved.get(preset);
        if (lines === undefined) continue;
        back.push(...lines);
        this.unserved.delete(preset);
      }
    for (const tenantId of this.endedOf) {
      const lines = this.held.get(tenantId);
      if (lines === undefined || this.isFull(tenantId)) continue;
      back.push(...lines);
      this.held.delete(tenantId);
    }
    this.endedOf.clear();
    this.fair.addAll(back.flatMap((line) => this.shown(line) ?? []));
  }

  private chooseHeads(idle: readonly IdleWorkerOf[], now: number): readonly Head[] {
    const free = [...idle];
    const heads: Head[] = [];
    const at = new Date(EPOCH_MS + now);
    for (let queue = this.fair.next(at); queue !== undefined && free.length > 0; queue = this.fair.next(at)) {
      const { preset } = queue;
      const line = this.lineOf(queue);
      const first = line.items[line.first];
      if (first === undefined) throw new Error("a turn of a queue in which nothing waits");
      const worker = free.find(({ presets }) => presets.includes(preset));
      if (worker === undefined) {
        this.fair.remove(queue);
        setIn(this.unserved, preset, line);
        continue;
      }
      this.decisions++;
      free.splice(free.indexOf(worker), 1);
      const head = this.waitingOf(first, line);
      const aloneMs = this.predict(head, picturesOf(head.task));
      this.fair.start(head, aloneMs);
      this.take(first, line);
      heads.push({ head, room: worker.slots, worker, aloneMs });
    }
    return heads;
  }

  private startAll(heads: readonly Head[]): readonly (readonly Begun[])[] {
    const hasRoom = heads.some(({ head, room }) => picturesOf(head.task) < room);
    const groups = fillGroups(heads, hasRoom ? this.listSoon() : []);
    for (const [, ...company] of groups)
      for (const member of company) {
        this.fair.accompany(member);
        this.take(member.wanted, member.line);
      }
    return heads.map(({ head, worker, aloneMs }, i) => {
      const members = groups[i] ?? [];
      const pictures = countOf(members);
      const charged = members.map((waiting): Charged => {
        const predictedMs = this.predict(waiting, pictures);
        if (waiting !== head) this.fair.charge(waiting, predictedMs);
        else if (predictedMs !== aloneMs) this.fair.charge(waiting, predictedMs - aloneMs);
        return { waiting, predictedMs, groupPictures: pictures };
      });
      const admitted = charged.filter((each) => this.admit(each));
      const groupPictures = countOf(admitted.map(({ waiting }) => waiting));
      return admitted.map((each) => {
        this.running.set(each.waiting.id, { ...each, groupPictures });
        return { id: each.waiting.id, worker: worker.name, groupPictures };
      });
    });
  }

  /** @returns whether the cap of its tenant lets it run; otherwise its queue waits for something to end */
  private admit({ waiting, predictedMs }: Charged): boolean {
    const { tenantId } = waiting;
    if (!this.isFull(tenantId)) {
      this.runningOf.set(tenantId, (this.runningOf.get(tenantId) ?? 0) + 1);
      return true;
    }
    this.fair.charge(waiting, -predictedMs);
    this.put(waiting.wanted);
    this.fair.remove(waiting);
    setIn(this.held, tenantId, waiting.line);
    return false;
  }

  private isFull(tenantId: string): boolean {
    if (this.uncapped.has(tenantId)) return false;
    return (this.runningOf.get(tenantId) ?? 0) >= (this.options.caps?.[tenantId] ?? Number.POSITIVE_INFINITY);
  }

  private predict(waiting: Waiting, groupPictures: number): number {
    const { predict } = this.options;
    return predict === undefined ? this.durations.predict({ ...waiting, groupPictures }) : predict(waiting.wanted);
  }

  private listSoon(): readonly Waiting[] {
    const soon = this.fair.peek(LOOK_AHEAD).map((queue) => {
      const line = this.lineOf(queue);
      return { line, items: line.items.slice(line.first, line.first + LOOK_AHEAD) };
    });
    const found: Waiting[] = [];
    for (let depth = 0; found.length < LOOK_AHEAD && soon.some(({ items }) => items.length > depth); depth++)
      for (const { line, items } of soon)
        for (const wanted of items.slice(depth, depth + 1)) found.push(this.waitingOf(wanted, line));
    return found.slice(0, LOOK_AHEAD);
  }
}

const countOf = (members: readonly Waiting[]): number => members.reduce((sum, { task }) => sum + picturesOf(task), 0);

function isBefore({ arrivesAt, id }: Wanted, other: Wanted | undefined): boolean {
  if (other === undefined) return false;
  return arrivesAt < other.arrivesAt || (arrivesAt === other.arrivesAt && id < other.id);
}

const isSame = (a: QueueName, b: QueueName): boolean =>
  a.userId === b.userId && a.apiKeyId === b.apiKeyId && a.priority === b.priority && a.preset === b.preset;

function setIn(groups: Map<string, Set<Line>>, group: string, line: Line): void {
  groups.set(group, (groups.get(group) ?? new Set()).add(line));
}

/** Turns by arrival alone: what fairness is compared with. */
export class FifoWorld implements World {
  private readonly waiting: Wanted[] = [];
  private first = 0;

  queue(wanted: Wanted): void {
    this.waiting.push(wanted);
  }

  claim(idle: readonly IdleWorkerOf[]): readonly (readonly Begun[])[] {
    const starting = this.waiting.slice(this.first, this.first + idle.length);
    this.first += starting.length;
    return starting.map(({ id }, i) => [{ id, worker: idle[i]!.name, groupPictures: 1 }]);
  }

  countForeground(): number {
    return 0;
  }

  end(): GenerationState {
    return "SUCCEEDED";
  }

  drop(): void {
    throw new Error("nothing is canceled in a queue that only serves for comparison");
  }
}
