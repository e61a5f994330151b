/**
 * A pool in virtual time: arrivals, workers and their deaths come from a seed, turns from the scheduler's own decision. What
 * the dispatcher does with rows and streams, this does with arrays and an agenda; nothing waits for a real clock.
 */
import { FairShare, type WaitingQueue } from "../../src/scheduler/fair-share.ts";
import { type Tagged, TagHeap } from "../../src/scheduler/tag-heap.ts";

export interface Job {
  readonly id: number;
  readonly tenantId: string;
  readonly userId: string;
  readonly apiKeyId: string | null;
  readonly priority: "INTERACTIVE" | "STANDARD" | "BATCH";
  readonly preset: string;
  /** Of its tenant. */
  readonly weight: number;
  readonly arrivesAt: number;
  /** Milliseconds on a worker. */
  readonly serviceMs: number;
}

export interface EndedJob extends Job {
  readonly firstStartAt: number;
  readonly endedAt: number;
  readonly attempts: number;
}

export interface SimulationOptions {
  readonly workers: number;
  readonly ageingMs?: number;
  /** What the scheduler believes that a job takes; the truth unless given. */
  readonly predict?: (job: Job) => number;
  /** Jobs of a tenant that may run at a time. */
  readonly caps?: Readonly<Record<string, number>>;
  /** Whether, and after which share of its work, a worker dies in this attempt of a job. */
  readonly dies?: (job: Job, attempt: number) => number | undefined;
  /** A turn is decided by arrival alone: what fairness is compared with. */
  readonly isFifo?: boolean;
  /** After which nothing more is looked at. */
  readonly until?: number;
}

interface Waiting {
  readonly job: Job;
  attempts: number;
  firstStartAt: number | undefined;
}

/** Milliseconds of service of a tenant, in the order in which it was received. */
export interface Service {
  readonly tenantId: string;
  readonly from: number;
  readonly to: number;
}

type Agenda = Tagged & { readonly act: () => void };

export class Simulation {
  readonly ended: EndedJob[] = [];
  readonly service: Service[] = [];
  decisions = 0;
  now = 0;
  private readonly fair: FairShare;
  private readonly queues = new Map<string, Waiting[]>();
  private readonly heads = new Map<string, number>();
  private readonly agenda = new TagHeap<Agenda>();
  private readonly arrivals: readonly Job[];
  private arrived = 0;
  private readonly held = new Map<string, Set<string>>();
  private readonly running = new Map<string, number>();
  private readonly fifo: string[] = [];
  private fifoHead = 0;
  private idle: number;
  private count = 0;

  constructor(
    jobs: readonly Job[],
    private readonly options: SimulationOptions,
  ) {
    this.idle = options.workers;
    this.fair = new FairShare(options.ageingMs ?? 600_000);
    this.arrivals = jobs.toSorted((a, b) => a.arrivesAt - b.arrivesAt);
  }

  run(): this {
    const { until = Number.POSITIVE_INFINITY } = this.options;
    for (
      this.now = this.nextTime();
      this.now <= until && this.now < Number.POSITIVE_INFINITY;
      this.now = this.nextTime()
    ) {
      for (let job = this.arrivals[this.arrived]; job?.arrivesAt === this.now; job = this.arrivals[++this.arrived]) {
        this.put({ job, attempts: 0, firstStartAt: undefined }, "back");
      }
      for (let next = this.agenda.first(); next?.tag === this.now; next = this.agenda.first()) {
        this.agenda.remove(next);
        next.act();
      }
      this.fill();
    }
    return this;
  }

  private nextTime(): number {
    const { arrivesAt = Number.POSITIVE_INFINITY } = this.arrivals[this.arrived] ?? {};
    return Math.min(arrivesAt, this.agenda.first()?.tag ?? Number.POSITIVE_INFINITY);
  }

  private put(waiting: Waiting, end: "front" | "back"): void {
    const key = keyOf(waiting.job);
    const queue = this.queues.get(key) ?? [];
    this.queues.set(key, queue);
    if (end === "back") queue.push(waiting);
    else queue.splice(this.heads.get(key) ?? 0, 0, waiting);
    if (this.options.isFifo) this.fifo.push(key);
    this.show(key);
  }

  /** Tells the scheduler what waits at the head of a queue. */
  private show(key: string): void {
    const head = this.queues.get(key)?.[this.heads.get(key) ?? 0];
    if (head === undefined) return;
    const { job } = head;
    if ((this.running.get(job.tenantId) ?? 0) >= (this.options.caps?.[job.tenantId] ?? Number.POSITIVE_INFINITY)) {
      this.held.set(job.tenantId, (this.held.get(job.tenantId) ?? new Set()).add(key));
      return;
    }
    this.fair.add({ ...job, since: new Date(job.arrivesAt) });
  }

  private fill(): void {
    while (this.idle > 0) {
      const key = this.turn();
      if (key === undefined) return;
      this.decisions++;
      this.start(key);
    }
  }

  private turn(): string | undefined {
    if (this.options.isFifo) return this.fifoHead < this.fifo.length ? this.fifo[this.fifoHead++] : undefined;
    const queue = this.fair.next(new Date(this.now));
    return queue && keyOf(queue);
  }

  private start(key: string): void {
    const queue = this.queues.get(key) ?? [];
    const place = this.heads.get(key) ?? 0;
    const waiting = queue[place]!;
    this.heads.set(key, place + 1);
    if (place > 1000) {
      queue.splice(0, place + 1);
      this.heads.set(key, 0);
    }
    const { job } = waiting;
    const predicted = (this.options.predict ?? (({ serviceMs }) => serviceMs))(job);
    const dies = this.options.dies?.(job, waiting.attempts + 1);
    const measured = job.serviceMs * (dies ?? 1);
    waiting.attempts++;
    waiting.firstStartAt ??= this.now;
    this.idle--;
    this.running.set(job.tenantId, (this.running.get(job.tenantId) ?? 0) + 1);
    this.fair.start(job, predicted);
    const next = queue[this.heads.get(key) ?? 0];
    if (next === undefined) this.fair.remove(nameOf(job));
    else this.show(key);
    if (this.isFull(job.tenantId)) this.holdAll(job.tenantId);
    const from = this.now;
    this.at(this.now + measured, () => {
      this.idle++;
      this.running.set(job.tenantId, (this.running.get(job.tenantId) ?? 1) - 1);
      this.service.push({ tenantId: job.tenantId, from, to: this.now });
      this.fair.charge(job, measured - predicted);
      this.release(job.tenantId);
      if (dies !== undefined) this.put(waiting, "front");
      else {
        const { attempts, firstStartAt = 0 } = waiting;
        this.ended.push({ ...job, attempts, firstStartAt, endedAt: this.now });
      }
    });
  }

  private isFull(tenantId: string): boolean {
    return (this.running.get(tenantId) ?? 0) >= (this.options.caps?.[tenantId] ?? Number.POSITIVE_INFINITY);
  }

  private holdAll(tenantId: string): void {
    for (const [key, queue] of this.queues) {
      const head = queue[this.heads.get(key) ?? 0];
      if (head?.job.tenantId !== tenantId) continue;
      this.fair.remove(nameOf(head.job));
      this.held.set(tenantId, (this.held.get(tenantId) ?? new Set()).add(key));
    }
  }

  private release(tenantId: string): void {
    const keys = this.held.get(tenantId);
    this.held.delete(tenantId);
    for (const key of keys ?? []) this.show(key);
  }

  private at(time: number, act: () => void): void {
    this.agenda.add({ id: String(++this.count).padStart(12, "0"), tag: time, act });
  }
}

const nameOf = ({ tenantId, userId, apiKeyId, priority, preset }: Job) => ({
  tenantId,
  userId,
  apiKeyId,
  priority,
  preset,
});

const keyOf = ({ tenantId, userId, apiKeyId, priority }: Omit<WaitingQueue, "since">): string =>
  `${tenantId} ${userId} ${apiKeyId} ${priority}`;

/** Uniform in [0, 1), by a seed: mulberry32. */
export function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

let ids = 0;

/** `count` jobs of a member, `everyMs` apart. */
export function jobsOf(
  who: Partial<Job> & { readonly tenantId: string },
  {
    count,
    from = 0,
    everyMs = 0,
    serviceMs = 100,
  }: { count: number; from?: number; everyMs?: number; serviceMs?: number | (() => number) },
): Job[] {
  return Array.from({ length: count }, (_, i) => ({
    userId: `${who.tenantId}-member`,
    apiKeyId: null,
    priority: "STANDARD",
    preset: "tiny",
    weight: 1,
    ...who,
    id: ++ids,
    arrivesAt: from + i * everyMs,
    serviceMs: typeof serviceMs === "number" ? serviceMs : serviceMs(),
  }));
}

/** Milliseconds of service of each tenant in a window of time. */
export function serviceIn(
  { service }: Pick<Simulation, "service">,
  { from, to }: { from: number; to: number },
): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const each of service) {
    const ms = Math.min(each.to, to) - Math.max(each.from, from);
    if (ms > 0) sums[each.tenantId] = (sums[each.tenantId] ?? 0) + ms;
  }
  return sums;
}

/** Jain's index of fairness: 1 when all are equal, 1 / n when one has everything. */
export function jain(values: readonly number[]): number {
  const sum = values.reduce((total, value) => total + value, 0);
  return sum ** 2 / (values.length * values.reduce((total, value) => total + value ** 2, 0));
}
