/**
 * What starts next, and when, if nothing else arrives? The dispatcher's own decisions, played forward in virtual time: the
 * same turns, the same company, the same limits; every attempt takes as long as is expected of it. Nothing here reads a clock
 * or a database.
 */
import { NIL } from "uuid";
import type { LimitLevel } from "../generated/prisma/enums.ts";
import type { Durations } from "./durations.ts";
import { FairShare, type StoredTurns } from "./fair-share.ts";
import { fillGroups, picturesOf } from "./group-filling.ts";
import { nearLines } from "./near-lines.ts";
import { LOOK_AHEAD } from "./pool-queue.ts";
import type { QueuedCandidate } from "./queue.store.ts";
import { keyOf, type QueueName, type WaitingQueue } from "./queue-name.ts";

/** Starts that are played one by one. */
const MAX_STARTS = 1000;

/** A queued generation. */
export interface Waiting extends QueuedCandidate {
  /** The end of a pause before a retry. */
  readonly notBefore: Date | null;
  readonly deadlineAt: Date | null;
}

/** A queue with the first ones that wait in it, oldest first. */
export interface Line {
  readonly queue: QueueName;
  readonly items: readonly Waiting[];
  /** There are more than these. */
  readonly hasMore: boolean;
}

/** A worker that lives, and what it runs. */
export interface ForecastWorker {
  readonly presets: readonly string[];
  readonly slots: number;
  /** When it is expected to have done what it runs; in the past when it is idle, or late. */
  readonly freeAt: Date;
  readonly runs: readonly QueueName[];
}

/** A limit of what runs. */
export interface RunningLimit {
  readonly level: LimitLevel;
  readonly tenantId: string;
  readonly subjectId: string;
  readonly max: number;
  readonly held: number;
}

export interface PoolState {
  readonly now: Date;
  readonly ageingMs: number;
  readonly turns: StoredTurns;
  readonly lines: readonly Line[];
  readonly workers: readonly ForecastWorker[];
  readonly limits: readonly RunningLimit[];
  readonly durations: Durations;
}

export interface ForecastStart {
  readonly waiting: Waiting;
  /** False of one that stands for another that was not read. */
  readonly isKnown: boolean;
  /** Undefined while no worker that lives serves its preset. */
  readonly startAt: Date | undefined;
  readonly finishAt: Date | undefined;
}

export interface Forecast {
  /** At most MAX_STARTS, in their order. */
  readonly starts: readonly ForecastStart[];
  /** Whatever waits is among them, or never starts. */
  readonly isComplete: boolean;
}

/** @param until the last generation that is of interest */
export function forecast(state: PoolState, until?: string): Forecast {
  return new Play(state).run(until);
}

interface MutableLimit {
  readonly level: LimitLevel;
  readonly max: number;
  held: number;
}

interface PlayLine {
  readonly queue: QueueName;
  readonly items: Waiting[];
  readonly hasMore: boolean;
  /** What stands for those that were not read. */
  readonly last: Waiting;
  readonly limits: readonly MutableLimit[];
}

interface PlayWorker {
  readonly presets: ReadonlySet<string>;
  readonly slots: number;
  freeAt: number;
  /** The limits that what it runs counts against, once for each. */
  held: readonly MutableLimit[];
  /** It stands for one that does not live. */
  readonly isAbsent: boolean;
}

interface Head {
  readonly head: Waiting;
  readonly room: number;
  readonly worker: PlayWorker;
  readonly aloneMs: number;
}

/** Of the worker that stands for one that does not live: order matters, times do not. */
const ABSENT_SLOTS = 1;

class Play {
  private readonly fair: FairShare;
  private readonly limits = new Map<string, MutableLimit>();
  private readonly lines = new Map<string, PlayLine>();
  /** Lines that take no turns: nothing in them could start. */
  private readonly away = new Set<PlayLine>();
  private readonly workers: readonly PlayWorker[];
  private readonly starts: ForecastStart[] = [];
  private readonly started = new Set<string>();
  /** Ends of pauses, the next one last. */
  private readonly pauses: number[];
  private until: string | undefined;
  /** Not all lines are played. */
  private readonly isPart: boolean;

  constructor(private readonly state: PoolState) {
    this.fair = new FairShare(state.ageingMs);
    for (const { level, tenantId, subjectId, max, held } of state.limits)
      this.limits.set(`${level} ${tenantId} ${subjectId}`, { level, max, held });
    this.workers = this.makeWorkers();
    const near = nearLines(state.lines, state.turns.tags, MAX_STARTS + LOOK_AHEAD);
    this.isPart = near.length < state.lines.length;
    for (const { queue, items, hasMore } of near) {
      const last = items.at(-1);
      if (last === undefined) continue;
      const line = { queue, items: [...items], hasMore, last, limits: this.limitsOf(queue) };
      this.lines.set(keyOf(queue), line);
    }
    this.pauses = state.lines
      .flatMap(({ items }) => items.flatMap(({ notBefore }) => notBefore?.getTime() ?? []))
      .sort((a, b) => b - a);
    const now = state.now.getTime();
    const queues: WaitingQueue[] = [];
    for (const line of this.lines.values()) {
      const first = firstOf(line, now);
      if (first !== undefined && hasRoom(line)) queues.push({ ...line.queue, since: first.createdAt });
      else this.away.add(line);
    }
    this.fair.restore(state.turns, queues);
  }

  run(until: string | undefined): Forecast {
    this.until = until;
    for (let now: number | undefined = this.state.now.getTime(); now !== undefined && !this.isOver; ) {
      for (const worker of this.workers) if (worker.freeAt <= now) this.release(worker);
      this.claim(now);
      now = this.nextTime(now);
    }
    return { starts: this.starts, isComplete: !this.isPart && this.starts.length < MAX_STARTS };
  }

  private get isOver(): boolean {
    return this.starts.length >= MAX_STARTS || (this.until !== undefined && this.started.has(this.until));
  }

  /** What is served by nobody has one worker to itself, so that its order is known. */
  private makeWorkers(): readonly PlayWorker[] {
    const now = this.state.now.getTime();
    const live = this.state.workers.map(({ presets, slots, freeAt, runs }) => ({
      presets: new Set(presets),
      slots,
      freeAt: Math.max(now, freeAt.getTime()),
      held: runs.flatMap((queue) => this.limitsOf(queue)),
      isAbsent: false,
    }));
    const served = new Set(live.flatMap(({ presets }) => [...presets]));
    const items = this.state.lines.flatMap((line) => line.items);
    const absent = new Set(items.map(({ preset }) => preset).filter((preset) => !served.has(preset)));
    if (absent.size === 0) return live;
    return [...live, { presets: absent, slots: ABSENT_SLOTS, freeAt: now, held: [], isAbsent: true }];
  }

  private limitsOf({ tenantId, userId, apiKeyId }: QueueName): readonly MutableLimit[] {
    return [
      PLATFORM,
      `TENANT ${tenantId} ${tenantId}`,
      `MEMBER ${tenantId} ${userId}`,
      `API_KEY ${tenantId} ${apiKeyId}`,
    ].flatMap((key) => this.limits.get(key) ?? []);
  }

  private release(worker: PlayWorker): void {
    for (const limit of worker.held) limit.held--;
    worker.held = [];
  }

  /** As the dispatcher does: again for workers that got nothing because limits refused all that was chosen for them. */
  private claim(now: number): void {
    let left = this.workers.filter(({ freeAt }) => freeAt <= now);
    while (left.length > 0 && !this.isOver) {
      this.comeBack(left, now);
      const heads = this.chooseHeads(left, now);
      const served = this.startAll(heads, now);
      if (served.size === 0 || served.size === heads.length) return;
      left = left.filter((worker) => !served.has(worker));
    }
  }

  /** Queues that can have a turn again do so at the floor. */
  private comeBack(idle: readonly PlayWorker[], now: number): void {
    const joining: WaitingQueue[] = [];
    for (const line of this.away) {
      const first = firstOf(line, now);
      if (first === undefined || !hasRoom(line)) continue;
      if (!idle.some(({ presets }) => presets.has(line.queue.preset))) continue;
      this.away.delete(line);
      joining.push({ ...line.queue, since: first.createdAt });
    }
    if (joining.length > 0) this.fair.addAll(joining);
  }

  private chooseHeads(idle: readonly PlayWorker[], now: number): readonly Head[] {
    const free = new Set(idle);
    const heads: Head[] = [];
    const at = new Date(now);
    if (this.isPlatformFull) return heads;
    for (let queue = this.fair.next(at); queue !== undefined && free.size > 0; queue = this.fair.next(at)) {
      const { preset } = queue;
      const line = this.lines.get(keyOf(queue));
      const worker = [...free].find(({ presets }) => presets.has(preset));
      const head = line && firstOf(line, now);
      if (line === undefined || head === undefined || worker === undefined || !hasRoom(line)) {
        this.fair.remove(queue);
        if (line !== undefined) this.away.add(line);
        continue;
      }
      free.delete(worker);
      const aloneMs = this.predict(head, picturesOf(head.task));
      this.fair.start(head, aloneMs);
      this.take(line, head, now);
      heads.push({ head, worker, room: worker.slots, aloneMs });
    }
    return heads;
  }

  /** It is about to start. */
  private take(line: PlayLine, waiting: Waiting, now: number): void {
    const place = line.items.indexOf(waiting);
    if (place >= 0) line.items.splice(place, 1);
    const next = firstOf(line, now);
    if (next !== undefined) this.fair.advance({ ...line.queue, since: next.createdAt });
    else {
      this.fair.remove(line.queue);
      this.away.add(line);
    }
  }

  /** @returns the workers that have something to do */
  private startAll(heads: readonly Head[], now: number): ReadonlySet<PlayWorker> {
    const hasRoomLeft = heads.some(({ head, room }) => picturesOf(head.task) < room);
    const groups = fillGroups(heads, hasRoomLeft ? this.listSoon(now) : []);
    for (const [, ...company] of groups)
      for (const member of company) {
        const line = this.lines.get(keyOf(member));
        this.fair.accompany(member);
        if (line !== undefined) this.take(line, member, now);
      }
    const served = new Set<PlayWorker>();
    for (const [i, head] of heads.entries()) if (this.start(head, groups[i] ?? [], now)) served.add(head.worker);
    return served;
  }

  private listSoon(now: number): readonly Waiting[] {
    const queues = this.fair.peek(LOOK_AHEAD).map((queue) => this.lines.get(keyOf(queue))?.items ?? []);
    const startable = queues.map((items) => items.filter((item) => canStart(item, now)).slice(0, LOOK_AHEAD));
    return interleaved(startable, LOOK_AHEAD);
  }

  /** @returns whether any of them may run */
  private start({ head, worker, aloneMs }: Head, members: readonly Waiting[], now: number): boolean {
    const groupPictures = members.reduce((sum, { task }) => sum + picturesOf(task), 0);
    const charges = members.map((member) => {
      const ownMs = this.predict(member, groupPictures);
      this.fair.charge(member, member === head ? ownMs - aloneMs : ownMs);
      return { member, ownMs };
    });
    const running: Waiting[] = [];
    for (const { member, ownMs } of charges) {
      const limits = this.limitsOf(member);
      if (limits.some(({ held, max }) => held >= max)) this.refuse(member, ownMs);
      else {
        for (const limit of limits) limit.held++;
        running.push(member);
      }
    }
    if (running.length === 0) return false;
    const pictures = running.reduce((sum, { task }) => sum + picturesOf(task), 0);
    worker.freeAt =
      now + Math.max(...running.map((member) => (this.predict(member, pictures) * pictures) / picturesOf(member.task)));
    worker.held = running.flatMap((member) => this.limitsOf(member));
    for (const member of running) this.note(member, worker, now);
    return true;
  }

  private refuse(waiting: Waiting, ms: number): void {
    this.fair.charge(waiting, -ms);
    const line = this.lines.get(keyOf(waiting));
    if (line === undefined) return;
    if (!isStandIn(waiting)) line.items.unshift(waiting);
    line.items.sort((a, b) => a.createdAt.getTime() - b.createdAt.getTime());
    this.fair.remove(line.queue);
    this.away.add(line);
  }

  private note(waiting: Waiting, { freeAt, isAbsent }: PlayWorker, now: number): void {
    this.started.add(waiting.id);
    const times = { startAt: new Date(now), finishAt: new Date(freeAt) };
    const none = { startAt: undefined, finishAt: undefined };
    this.starts.push({ waiting, isKnown: !isStandIn(waiting), ...(isAbsent ? none : times) });
  }

  private predict({ preset, task }: Waiting, groupPictures: number): number {
    return this.state.durations.predict({ preset, task, groupPictures });
  }

  private get isPlatformFull(): boolean {
    const platform = this.limits.get(PLATFORM);
    return platform !== undefined && platform.held >= platform.max;
  }

  /** When a worker or a pause ends; undefined when nothing more can happen. */
  private nextTime(now: number): number | undefined {
    while ((this.pauses.at(-1) ?? Number.POSITIVE_INFINITY) <= now) this.pauses.pop();
    const times = this.workers.map(({ freeAt }) => freeAt).filter((time) => time > now);
    const next = Math.min(this.pauses.at(-1) ?? Number.POSITIVE_INFINITY, ...times);
    return Number.isFinite(next) ? next : undefined;
  }
}

const PLATFORM = `PLATFORM ${NIL} ${NIL}`;
const STAND_IN = "not read";

const isStandIn = ({ id }: Waiting): boolean => id === STAND_IN;

/** Like the last one that was read, and alone. */
const standInOf = ({ last }: PlayLine): Waiting => ({
  ...last,
  task: last.task,
  id: STAND_IN,
  isNew: false,
  suspicion: null,
  notBefore: null,
  deadlineAt: null,
});

/** The first one of a queue that could start. */
const firstOf = (line: PlayLine, now: number): Waiting | undefined =>
  line.items.find((item) => canStart(item, now)) ?? (line.hasMore ? standInOf(line) : undefined);

const hasRoom = ({ limits }: PlayLine): boolean => limits.every(({ held, max }) => held < max);

const canStart = ({ notBefore, deadlineAt }: Waiting, now: number): boolean =>
  (notBefore === null || notBefore.getTime() <= now) && (deadlineAt === null || deadlineAt.getTime() > now);

/** Of lists the first ones, then the second ones, and so on. */
function interleaved<T>(lists: readonly (readonly T[])[], count: number): readonly T[] {
  const found: T[] = [];
  for (let depth = 0; found.length < count && lists.some(({ length }) => length > depth); depth++)
    for (const list of lists) found.push(...list.slice(depth, depth + 1));
  return found.slice(0, count);
}
