/**
 * Whose turn is it? Start-time fair queueing (Goyal, Vin, Cheng 1996) on two levels: among the tenants of a pool, then among
 * the members of the tenant. Each has a tag, the virtual time at which its next turn begins; the lowest goes first and is
 * charged the milliseconds that its work is predicted to take. Nothing here reads a clock or a database: the same calls give
 * the same turns.
 *
 * Between tenants INTERACTIVE and STANDARD are one class, so that nobody gains by calling everything urgent; inside a tenant
 * INTERACTIVE goes first. BATCH has its turn when nothing else waits, or as STANDARD once it has waited for `ageingMs`.
 */
import type { Priority } from "../generated/prisma/enums.ts";
import { type Tagged, TagHeap } from "./tag-heap.ts";
import { Turns } from "./turns.ts";

/** Generations of one class and preset that one member queued with one key, oldest first. */
export interface QueueName {
  readonly tenantId: string;
  readonly userId: string;
  /** Null for one who signed in. */
  readonly apiKeyId: string | null;
  readonly priority: Priority;
  readonly preset: string;
}

/** A queue in which something waits. */
export interface WaitingQueue extends QueueName {
  /** When its oldest one was asked for. */
  readonly since: Date;
}

/** Whose turns are charged. */
export interface Payer {
  readonly tenantId: string;
  readonly userId: string;
  /** The tenant's part of the service, against 1 of any other. */
  readonly weight: number;
}

/** How urgent a queue is, inside its tenant. */
enum Rank {
  Interactive = 0,
  Standard = 1,
  Batch = 2,
}

const RANKS: Record<Priority, Rank> = {
  INTERACTIVE: Rank.Interactive,
  STANDARD: Rank.Standard,
  BATCH: Rank.Batch,
};

interface Entry {
  queue: WaitingQueue;
  rank: Rank;
}

/** A tenant's or a member's part of the service. Its tag: the virtual time at which its next turn begins. */
type Share = Tagged;

interface MemberShare extends Share {
  /** By rank; what waits there. */
  readonly entries: readonly [Entry[], Entry[], Entry[]];
}

/** When a BATCH queue began to wait, as a tag. */
interface Due extends Tagged {
  readonly entry: Entry;
}

interface TenantShare extends Share {
  readonly members: Map<string, MemberShare>;
  /** By rank; the members that have something of it. */
  readonly waiting: readonly [Turns<MemberShare>, Turns<MemberShare>, Turns<MemberShare>];
}

/** A tag as it is stored. The tenant's own has no member. */
export interface StoredTag {
  readonly tenantId: string;
  readonly userId: string | null;
  readonly tag: number;
  /** With a tenant's own: the floors of its members' turns, by rank. */
  readonly floors: readonly number[];
}

/** Where the turns of a pool stand. */
export interface StoredTurns {
  /** Of the tenants' turns: of those with anything but BATCH, and of those with BATCH. */
  readonly floors: readonly number[];
  readonly tags: readonly StoredTag[];
}

export class FairShare {
  private readonly tenants = new Map<string, TenantShare>();
  /** Tenants with anything but BATCH, and those with BATCH. */
  private readonly foreground = new Turns<TenantShare>();
  private readonly background = new Turns<TenantShare>();
  private readonly entries = new Map<string, Entry>();
  /** Of BATCH queues: they age in the order in which they began to wait. */
  private readonly ageing = new TagHeap<Due>();
  private readonly dues = new Map<Entry, Due>();
  private readonly charged = new Map<string, Pick<QueueName, "tenantId" | "userId">>();
  /** Members whose tags were stored. */
  private readonly stored = new Set<string>();
  /** One that never was is among those that were charged. */
  hasNewlyCharged = false;

  constructor(private readonly ageingMs: number) {}

  /** Something waits there. A queue that is known keeps its share's place, and its age: others of it may have waited for longer. */
  add(queue: WaitingQueue): void {
    const known = this.entries.get(keyOf(queue));
    if (known === undefined || queue.since < known.queue.since) this.advance(queue);
  }

  /** Of what waits there this is the oldest now. */
  advance(queue: WaitingQueue): void {
    const key = keyOf(queue);
    const known = this.entries.get(key);
    const rank = RANKS[queue.priority];
    if (known === undefined) {
      const entry: Entry = { queue, rank };
      this.entries.set(key, entry);
      this.place(entry);
      this.startAgeing(entry);
    } else if (known.queue.since.getTime() !== queue.since.getTime()) {
      known.queue = queue;
      this.startAgeing(known);
      if (known.rank !== rank) this.move(known, rank);
    }
  }

  /** Queues in which something waits from now on, in any order. */
  addAll(queues: readonly WaitingQueue[]): void {
    for (const queue of queues) this.add(queue);
  }

  /** Nothing waits there any more, or nothing that could start. */
  remove(queue: QueueName): void {
    const key = keyOf(queue);
    const entry = this.entries.get(key);
    if (entry === undefined) return;
    this.entries.delete(key);
    this.displace(entry);
    this.stopAgeing(entry);
  }

  has(queue: QueueName): boolean {
    return this.entries.has(keyOf(queue));
  }

  /** All queues, in no order. */
  queues(): readonly WaitingQueue[] {
    return [...this.entries.values()].map(({ queue }) => queue);
  }

  /** Some of the queues whose turn it is soon: of each tenant its first, then the second of each, as tags stand now. */
  peek(count: number): readonly WaitingQueue[] {
    const tenants = new Set([...this.foreground.firsts(count), ...this.background.firsts(count)]);
    const ofTenants = [...tenants].map((tenant) => queuesOf(tenant, count));
    const soon: WaitingQueue[] = [];
    for (let depth = 0; soon.length < count && ofTenants.some(({ length }) => length > depth); depth++)
      for (const queues of ofTenants) soon.push(...queues.slice(depth, depth + 1));
    return soon.slice(0, count);
  }

  /** A queue of each of the next tenants that have more than BATCH waiting. */
  foregroundQueues(count: number, now: Date): readonly WaitingQueue[] {
    this.age(now.getTime());
    return this.foreground.firsts(count).flatMap((tenant) => queuesOf(tenant, 1));
  }

  /** The queue whose turn it is; asking changes no turn. */
  next(now: Date): WaitingQueue | undefined {
    this.age(now.getTime());
    const tenant = this.foreground.first() ?? this.background.first();
    const member = tenant?.waiting.find(({ size }) => size > 0)?.first();
    return member === undefined ? undefined : oldest(member.entries.find(({ length }) => length > 0) ?? [])?.queue;
  }

  /** Something of this queue starts, whose turn it is: it is predicted to take so many milliseconds of a worker. */
  start(queue: QueueName & Payer, predictedMs: number): void {
    const { tenant, member, ofTenants, ofMembers } = this.placeOf(queue);
    ofTenants?.begin(tenant);
    ofMembers?.begin(member);
    this.charge(queue, predictedMs);
  }

  /** Something of this queue is about to start in the turn of another; to be called while it still waits. */
  accompany(queue: QueueName): void {
    const { tenant, member, ofTenants, ofMembers } = this.placeOf(queue);
    ofTenants?.settle(tenant);
    ofMembers?.settle(member);
    this.moved(tenant, member);
  }

  /**
   * Moves tags on by milliseconds of service, or back by those that were predicted too many. A tenant of weight 2 has them at
   * half the price.
   */
  charge({ tenantId, userId, weight }: Payer, ms: number): void {
    const tenant = this.tenantOf(tenantId);
    const member = memberOf(tenant, userId);
    tenant.tag += ms / weight;
    member.tag += ms;
    this.moved(tenant, member);
    const key = `${tenantId} ${userId}`;
    this.charged.set(key, { tenantId, userId });
    this.hasNewlyCharged ||= !this.stored.has(key);
  }

  get wasCharged(): boolean {
    return this.charged.size > 0;
  }

  /** Floors, and the tags of those that were charged since this was last called. */
  takeCharged(): StoredTurns {
    const members = [...this.charged.values()];
    for (const key of this.charged.keys()) this.stored.add(key);
    this.charged.clear();
    this.hasNewlyCharged = false;
    const tenants = [...new Set(members.map(({ tenantId }) => tenantId))].map((id) => this.tenantOf(id));
    return {
      floors: [this.foreground.floor, this.background.floor],
      tags: [
        ...tenants.map(({ id, tag, waiting }) => {
          return { tenantId: id, userId: null, tag, floors: waiting.map(({ floor }) => floor) };
        }),
        ...members.map((who) => {
          return { ...who, tag: memberOf(this.tenantOf(who.tenantId), who.userId).tag, floors: [] };
        }),
      ],
    };
  }

  /** Takes up where an earlier leader of the pool stopped, with what waits now. Nothing was added before. */
  restore({ floors, tags }: StoredTurns, queues: readonly WaitingQueue[]): void {
    for (const [i, turns] of [this.foreground, this.background].entries()) turns.restore(floors[i] ?? 0);
    for (const { tenantId, userId, tag, floors: ofMembers } of tags) {
      this.stored.add(`${tenantId} ${userId}`);
      const tenant = this.tenantOf(tenantId);
      if (userId !== null) memberOf(tenant, userId).tag = tag;
      else {
        tenant.tag = tag;
        for (const [rank, turns] of tenant.waiting.entries()) turns.restore(ofMembers[rank] ?? 0);
      }
    }
    this.addAll(queues);
  }

  /** BATCH that has waited for long enough is STANDARD from now on. */
  private age(now: number): void {
    for (
      let due = this.ageing.first();
      due !== undefined && now - due.tag >= this.ageingMs;
      due = this.ageing.first()
    ) {
      this.stopAgeing(due.entry);
      this.move(due.entry, Rank.Standard);
    }
  }

  private startAgeing(entry: Entry): void {
    this.stopAgeing(entry);
    if (entry.queue.priority !== "BATCH") return;
    const due: Due = { id: keyOf(entry.queue), tag: entry.queue.since.getTime(), entry };
    this.ageing.add(due);
    this.dues.set(entry, due);
  }

  private stopAgeing(entry: Entry): void {
    const due = this.dues.get(entry);
    if (due !== undefined) this.ageing.remove(due);
    this.dues.delete(entry);
  }

  private place(entry: Entry): void {
    const tenant = this.tenantOf(entry.queue.tenantId);
    const member = memberOf(tenant, entry.queue.userId);
    member.entries[entry.rank].push(entry);
    tenant.waiting[entry.rank].join(member);
    (entry.rank === Rank.Batch ? this.background : this.foreground).join(tenant);
    this.moved(tenant, member);
  }

  /** They may wait in several places. */
  private moved(tenant: TenantShare, member: MemberShare): void {
    for (const turns of [this.foreground, this.background]) turns.moved(tenant);
    for (const turns of tenant.waiting) turns.moved(member);
  }

  private move(entry: Entry, rank: Rank): void {
    this.displace(entry);
    entry.rank = rank;
    this.place(entry);
  }

  private displace(entry: Entry): void {
    const tenant = this.tenantOf(entry.queue.tenantId);
    const member = memberOf(tenant, entry.queue.userId);
    const entries = member.entries[entry.rank];
    entries.splice(entries.indexOf(entry), 1);
    if (entries.length === 0) tenant.waiting[entry.rank].remove(member);
    const [interactive, standard, batch] = tenant.waiting;
    if (interactive.size === 0 && standard.size === 0) this.foreground.remove(tenant);
    if (batch.size === 0) this.background.remove(tenant);
  }

  /** The shares of a queue, and where they wait for its turn. */
  private placeOf(queue: QueueName) {
    const tenant = this.tenantOf(queue.tenantId);
    const member = memberOf(tenant, queue.userId);
    const rank = this.entries.get(keyOf(queue))?.rank;
    if (rank === undefined) return { tenant, member, ofTenants: undefined, ofMembers: undefined };
    const ofTenants = rank === Rank.Batch ? this.background : this.foreground;
    return { tenant, member, ofTenants, ofMembers: tenant.waiting[rank] };
  }

  private tenantOf(id: string): TenantShare {
    const known = this.tenants.get(id);
    if (known !== undefined) return known;
    const waiting = [new Turns<MemberShare>(), new Turns<MemberShare>(), new Turns<MemberShare>()] as const;
    const tenant: TenantShare = { id, tag: 0, members: new Map(), waiting };
    this.tenants.set(id, tenant);
    return tenant;
  }
}

function memberOf(tenant: TenantShare, id: string): MemberShare {
  const known = tenant.members.get(id);
  if (known !== undefined) return known;
  const member: MemberShare = { id, tag: 0, entries: [[], [], []] };
  tenant.members.set(id, member);
  return member;
}

/** At most `count` of a tenant's queues, by class and by their members' turns. */
const queuesOf = ({ waiting }: TenantShare, count: number): readonly WaitingQueue[] =>
  waiting
    .flatMap((turns, rank) => turns.firsts(count).flatMap(({ entries }) => entries[rank as Rank]))
    .slice(0, count)
    .map(({ queue }) => queue);

/** Of a member's queues of one rank: keys share their member's turns. */
const oldest = (entries: readonly Entry[]): Entry | undefined =>
  entries.reduce<Entry | undefined>(
    (first, entry) => (first === undefined || entry.queue.since < first.queue.since ? entry : first),
    undefined,
  );

export const keyOf = ({ tenantId, userId, apiKeyId, priority, preset }: QueueName): string =>
  `${tenantId} ${userId} ${apiKeyId ?? ""} ${priority} ${preset}`;
