/**
 * Whose turn is it? Start-time fair queueing (Goyal, Vin, Cheng 1996) on two levels: among the tenants of a pool, then among
 * the members of the tenant. Each has a tag, the virtual time at which its next turn begins; the lowest goes first and is
 * charged the milliseconds that its work is predicted to take. Nothing here reads a clock or a database: the same calls give
 * the same turns.
 *
 * Between tenants INTERACTIVE and STANDARD are one class, so that nobody gains by calling everything urgent; inside a tenant
 * INTERACTIVE goes first. BATCH has its turn when nothing else waits, or as STANDARD once it has waited for `ageingMs`.
 */
import { keyOf, type QueueName, type WaitingQueue } from "./queue-name.ts";
import { type Due, Entry, type MemberShare, RANKS, Rank, TenantShare } from "./shares.ts";
import { NOWHERE, TagHeap } from "./tag-heap.ts";
import { type Seat, Turns } from "./turns.ts";

/** Whose turns are charged. */
export interface Payer {
  readonly tenantId: string;
  readonly userId: string;
  /** The tenant's part of the service, against 1 of any other. */
  readonly weight: number;
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
  private readonly foreground = new Turns<Seat<TenantShare>>();
  private readonly background = new Turns<Seat<TenantShare>>();
  /** Of BATCH queues: they age in the order in which they began to wait. */
  private readonly ageing = new TagHeap<Due>();
  private readonly charged = new Set<MemberShare>();
  /** One that never was is among those that were charged. */
  hasNewlyCharged = false;

  constructor(private readonly ageingMs: number) {}

  /** Something waits there. A queue that is known keeps its share's place, and its age: others of it may have waited for longer. */
  add(queue: WaitingQueue): void {
    const known = this.find(queue);
    if (known === undefined || queue.since < known.queue.since) this.advance(queue);
  }

  /** Of what waits there this is the oldest now. */
  advance(queue: WaitingQueue): void {
    const member = this.tenantOf(queue.tenantId).member(queue.userId);
    const known = member.find(queue);
    if (known === undefined) {
      const entry = new Entry(member, queue);
      member.entries.set(entry.id, entry);
      this.place(entry);
      this.startAgeing(entry);
    } else if (known.queue.since.getTime() !== queue.since.getTime()) {
      known.queue = queue;
      member.seat(known.rank).entries.moved(known);
      this.startAgeing(known);
      const rank = RANKS[queue.priority];
      if (known.rank !== rank) this.move(known, rank);
    }
  }

  /** Queues in which something waits from now on, in any order. */
  addAll(queues: readonly WaitingQueue[]): void {
    for (const queue of queues) this.add(queue);
  }

  /** Nothing waits there any more, or nothing that could start. */
  remove(queue: QueueName): void {
    const entry = this.find(queue);
    if (entry === undefined) return;
    entry.member.entries.delete(entry.id);
    this.displace(entry);
    this.stopAgeing(entry);
  }

  has(queue: QueueName): boolean {
    return this.find(queue) !== undefined;
  }

  /** All queues, in no order. */
  queues(): readonly WaitingQueue[] {
    return [...this.tenants.values()].flatMap(({ members }) =>
      [...members.values()].flatMap(({ entries }) => [...entries.values()].map(({ queue }) => queue)),
    );
  }

  /** Some of the queues whose turn it is soon: of each tenant its first, then the second of each, as tags stand now. */
  peek(count: number): readonly WaitingQueue[] {
    const seats = [...this.foreground.firsts(count), ...this.background.firsts(count)];
    const tenants = new Set(seats.map(({ share }) => share));
    const ofTenants = [...tenants].map((tenant) => queuesOf(tenant, count));
    const soon: WaitingQueue[] = [];
    for (let depth = 0; soon.length < count && ofTenants.some(({ length }) => length > depth); depth++)
      for (const queues of ofTenants) soon.push(...queues.slice(depth, depth + 1));
    return soon.slice(0, count);
  }

  /** A queue of each of the next tenants that have more than BATCH waiting. */
  foregroundQueues(count: number, now: Date): readonly WaitingQueue[] {
    this.age(now.getTime());
    return this.foreground.firsts(count).flatMap(({ share }) => queuesOf(share, 1));
  }

  /** The queue whose turn it is; asking changes no turn. */
  next(now: Date): WaitingQueue | undefined {
    this.age(now.getTime());
    const first = this.foreground.first() ?? this.background.first();
    return first?.share.first()?.entries.first()?.queue;
  }

  /** Something of this queue starts, whose turn it is: it is predicted to take so many milliseconds of a worker. */
  start(queue: QueueName & Payer, predictedMs: number): void {
    const entry = this.find(queue);
    if (entry !== undefined) {
      const { rank, member } = entry;
      const { tenant } = member;
      if (rank === Rank.Batch) this.background.begin(tenant.background);
      else this.foreground.begin(tenant.foreground);
      tenant.turns(rank).begin(member.seat(rank));
    }
    this.charge(queue, predictedMs);
  }

  /** Something of this queue is about to start in the turn of another; to be called while it still waits. */
  accompany(queue: QueueName): void {
    const entry = this.find(queue);
    if (entry === undefined) return;
    const { rank, member } = entry;
    const { tenant } = member;
    if (rank === Rank.Batch) this.background.settle(tenant.background);
    else this.foreground.settle(tenant.foreground);
    tenant.turns(rank).settle(member.seat(rank));
    this.moved(member);
  }

  /**
   * Moves tags on by milliseconds of service, or back by those that were predicted too many. A tenant of weight 2 has them at
   * half the price.
   */
  charge({ tenantId, userId, weight }: Payer, ms: number): void {
    const tenant = this.tenantOf(tenantId);
    const member = tenant.member(userId);
    tenant.tag += ms / weight;
    member.tag += ms;
    this.moved(member);
    this.charged.add(member);
    this.hasNewlyCharged ||= !member.wasStored;
  }

  get wasCharged(): boolean {
    return this.charged.size > 0;
  }

  /** Floors, and the tags of those that were charged since this was last called. */
  takeCharged(): StoredTurns {
    const members = [...this.charged];
    for (const member of members) member.wasStored = true;
    this.charged.clear();
    this.hasNewlyCharged = false;
    const tenants = [...new Set(members.map(({ tenant }) => tenant))];
    return {
      floors: [this.foreground.floor, this.background.floor],
      tags: [
        ...tenants.map(({ id, tag, floors }) => ({ tenantId: id, userId: null, tag, floors })),
        ...members.map(({ tenant, id, tag }) => ({ tenantId: tenant.id, userId: id, tag, floors: [] })),
      ],
    };
  }

  /** Takes up where an earlier leader of the pool stopped, with what waits now. Nothing was added before. */
  restore({ floors, tags }: StoredTurns, queues: readonly WaitingQueue[]): void {
    for (const [i, turns] of [this.foreground, this.background].entries()) turns.restore(floors[i] ?? 0);
    for (const { tenantId, userId, tag, floors: ofMembers } of tags) {
      const tenant = this.tenantOf(tenantId);
      if (userId !== null) Object.assign(tenant.member(userId), { tag, wasStored: true });
      else {
        tenant.tag = tag;
        tenant.restore(ofMembers);
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
    entry.due = { id: keyOf(entry.queue), tag: entry.queue.since.getTime(), place: NOWHERE, entry };
    this.ageing.add(entry.due);
  }

  private stopAgeing(entry: Entry): void {
    if (entry.due !== undefined) this.ageing.remove(entry.due);
    entry.due = undefined;
  }

  private place(entry: Entry): void {
    const { rank, member } = entry;
    const { tenant } = member;
    const seat = member.seat(rank);
    seat.entries.add(entry);
    tenant.turns(rank).join(seat);
    if (rank === Rank.Batch) this.background.join(tenant.background);
    else this.foreground.join(tenant.foreground);
    this.moved(member);
  }

  /** Its tag was changed, and that of its tenant. */
  private moved(member: MemberShare): void {
    this.foreground.moved(member.tenant.foreground);
    this.background.moved(member.tenant.background);
    member.moved();
  }

  private move(entry: Entry, rank: Rank): void {
    this.displace(entry);
    entry.rank = rank;
    this.place(entry);
  }

  private displace(entry: Entry): void {
    const { rank, member } = entry;
    const { tenant } = member;
    const seat = member.seat(rank);
    seat.entries.remove(entry);
    if (seat.entries.size === 0) tenant.turns(rank).remove(seat);
    if (!tenant.has(Rank.Interactive) && !tenant.has(Rank.Standard)) this.foreground.remove(tenant.foreground);
    if (!tenant.has(Rank.Batch)) this.background.remove(tenant.background);
  }

  private find(queue: QueueName): Entry | undefined {
    return this.tenants.get(queue.tenantId)?.members.get(queue.userId)?.find(queue);
  }

  private tenantOf(id: string): TenantShare {
    const known = this.tenants.get(id);
    if (known !== undefined) return known;
    const tenant = new TenantShare(id);
    this.tenants.set(id, tenant);
    return tenant;
  }
}

/** At most `count` of a tenant's queues, by class and by their members' turns. */
const queuesOf = (tenant: TenantShare, count: number): readonly WaitingQueue[] =>
  tenant
    .firsts(count)
    .flatMap(({ entries }) => entries.firsts(count))
    .slice(0, count)
    .map(({ queue }) => queue);
