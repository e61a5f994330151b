/** Who has a part of the service of a pool: tenants and their members, each with the queues in which something waits. */
import type { Priority } from "../generated/prisma/enums.ts";
import type { QueueName, WaitingQueue } from "./queue-name.ts";
import { NOWHERE, type Tagged, TagHeap } from "./tag-heap.ts";
import { Seat, type Share, Turns } from "./turns.ts";

/** How urgent a queue is, inside its tenant. */
export enum Rank {
  Interactive = 0,
  Standard = 1,
  Batch = 2,
}

/** The most urgent first. */
const ALL_RANKS = [Rank.Interactive, Rank.Standard, Rank.Batch] as const;

export const RANKS: Record<Priority, Rank> = {
  INTERACTIVE: Rank.Interactive,
  STANDARD: Rank.Standard,
  BATCH: Rank.Batch,
};

/** A queue in which something waits. Its tag: since when, in milliseconds since 1970. */
export class Entry implements Tagged {
  readonly id: string;
  place = NOWHERE;
  rank: Rank;
  /** Of a BATCH queue that has not aged. */
  due: Due | undefined;

  constructor(
    readonly member: MemberShare,
    public queue: WaitingQueue,
  ) {
    this.id = nameOf(queue);
    this.rank = RANKS[queue.priority];
  }

  get tag(): number {
    return this.queue.since.getTime();
  }
}

/** When a BATCH queue began to wait, as a tag. */
export interface Due extends Tagged {
  readonly entry: Entry;
}

/** The place of a member among those of its tenant that have something of a rank. */
export class MemberSeat extends Seat<MemberShare> {
  /** The oldest first: keys share their member's turns. */
  readonly entries = new TagHeap<Entry>();
}

export class MemberShare implements Share {
  tag = 0;
  wasStored = false;
  /** By their names. */
  readonly entries = new Map<string, Entry>();
  private readonly seats: (MemberSeat | undefined)[] = ALL_RANKS.map(() => undefined);

  constructor(
    readonly tenant: TenantShare,
    readonly id: string,
  ) {}

  find(queue: QueueName): Entry | undefined {
    return this.entries.get(nameOf(queue));
  }

  seat(rank: Rank): MemberSeat {
    const seat = this.seats[rank] ?? new MemberSeat(this);
    this.seats[rank] = seat;
    return seat;
  }

  /** Its tag was changed. It may wait in several places. */
  moved(): void {
    for (const rank of ALL_RANKS) {
      const seat = this.seats[rank];
      if (seat !== undefined) this.tenant.turns(rank).moved(seat);
    }
  }
}

export class TenantShare implements Share {
  tag = 0;
  readonly members = new Map<string, MemberShare>();
  /** Among the tenants with anything but BATCH, and among those with BATCH. */
  readonly foreground = new Seat<TenantShare>(this);
  readonly background = new Seat<TenantShare>(this);
  private readonly byRank: (Turns<MemberSeat> | undefined)[] = ALL_RANKS.map(() => undefined);

  constructor(readonly id: string) {}

  /** Whoever was not known has had nothing. */
  member(id: string): MemberShare {
    const known = this.members.get(id);
    if (known !== undefined) return known;
    const member = new MemberShare(this, id);
    this.members.set(id, member);
    return member;
  }

  /** The members that have something of a rank. */
  turns(rank: Rank): Turns<MemberSeat> {
    const turns = this.byRank[rank] ?? new Turns<MemberSeat>();
    this.byRank[rank] = turns;
    return turns;
  }

  has(rank: Rank): boolean {
    return (this.byRank[rank]?.size ?? 0) > 0;
  }

  /** Whose turn it is. */
  first(): MemberSeat | undefined {
    for (const turns of this.byRank) if (turns !== undefined && turns.size > 0) return turns.first();
    return undefined;
  }

  /** The next ones of whatever rank, the most urgent first. */
  firsts(count: number): readonly MemberSeat[] {
    return this.byRank.flatMap((turns) => turns?.firsts(count) ?? []);
  }

  /** By rank. */
  get floors(): readonly number[] {
    return this.byRank.map((turns) => turns?.floor ?? 0);
  }

  /** Takes up earlier floors. Nothing has waited before. */
  restore(floors: readonly number[]): void {
    for (const rank of ALL_RANKS) if (floors[rank]) this.turns(rank).restore(floors[rank]);
  }
}

/** Among the queues of a member. */
const nameOf = ({ apiKeyId, priority, preset }: QueueName): string => `${apiKeyId ?? ""} ${priority} ${preset}`;
