/**
 * Shares that have something waiting, in the order of their turns: the lowest tag first. Idling saves nothing up: nobody's turn
 * begins below the floor, the lowest tag of those that wait; while nobody waits, where the last turn began.
 *
 * A newcomer, who has had no turn since it joined, is lifted to the floor when its turn comes and not when it joins. What others
 * were charged may be put right in between: then the floor was too high, and who waits at it would wait in vain. So a newcomer
 * has its turn no later than who is lowest of the others, and what is put right of its own from before is not saved up.
 */
import { NOWHERE, type Tagged, TagHeap } from "./tag-heap.ts";

/** A part of the service. Its tag: the virtual time at which its next turn begins. */
export interface Share {
  readonly id: string;
  tag: number;
}

/** The place of a share among those who wait: it has one for each `Turns` that it may wait in. */
export class Seat<S extends Share> implements Tagged {
  place = NOWHERE;

  constructor(readonly share: S) {}

  get id(): string {
    return this.share.id;
  }

  get tag(): number {
    return this.share.tag;
  }
}

export class Turns<S extends Seat<Share>> {
  /** Those that have had a turn since they joined. */
  private readonly settled = new TagHeap<S>();
  private readonly newcomers = new TagHeap<S>();
  /** Below it no newcomer's turn begins, unless all others are lower. */
  private highest = 0;
  private count = 0;

  get size(): number {
    return this.count;
  }

  /** Where the turn of one would begin that has never had any, and joins now. */
  get floor(): number {
    const lowest = this.settled.first()?.tag;
    if (lowest === undefined) return this.highest;
    return this.newcomers.size === 0 ? lowest : Math.min(this.highest, lowest);
  }

  /** Takes up an earlier floor. Nobody has joined before. */
  restore(floor: number): void {
    this.highest = floor;
  }

  join(seat: S): void {
    if (this.has(seat)) return;
    this.raise(this.floor);
    this.newcomers.add(seat);
    this.count++;
  }

  private has(seat: S): boolean {
    return this.settled.has(seat) || this.newcomers.has(seat);
  }

  remove(seat: S): void {
    if (this.has(seat)) this.count--;
    this.settled.remove(seat);
    this.newcomers.remove(seat);
  }

  /** The tag of its share was changed. */
  moved(seat: S): void {
    if (seat.place === NOWHERE) return;
    this.settled.moved(seat);
    this.newcomers.moved(seat);
  }

  first(): S | undefined {
    const settled = this.settled.first();
    const newcomer = this.newcomers.first();
    if (settled === undefined || newcomer === undefined) return settled ?? newcomer;
    return this.isBefore(newcomer, settled) ? newcomer : settled;
  }

  /** The first ones, in order: a look at few of the seats, however many there are. */
  firsts(count: number): readonly S[] {
    const newcomers = this.newcomers.firsts(count);
    const firsts: S[] = [];
    let taken = 0;
    for (const seat of this.settled.firsts(count)) {
      for (let next = newcomers[taken]; next !== undefined && this.isBefore(next, seat); ) {
        firsts.push(next);
        next = newcomers[++taken];
      }
      firsts.push(seat);
    }
    return [...firsts, ...newcomers.slice(taken)].slice(0, count);
  }

  /** The turn of the first one begins: it is charged from the floor on. */
  begin(seat: S): void {
    this.settle(seat);
    this.raise(seat.share.tag);
  }

  /** As when its turn begins; but it starts in the turn of another, and the floor stays. */
  settle(seat: S): void {
    if (!this.newcomers.has(seat)) return;
    seat.share.tag = this.lifted(seat);
    this.newcomers.remove(seat);
    this.settled.add(seat);
  }

  private raise(floor: number): void {
    this.highest = Math.max(this.highest, floor);
  }

  /** The tag with which the turn of a newcomer would begin now. */
  private lifted({ tag }: S): number {
    return Math.max(tag, this.floor);
  }

  /** Of equal ones the one that has had less. */
  private isBefore(newcomer: S, settled: S): boolean {
    const tag = this.lifted(newcomer);
    return tag < settled.tag || (tag === settled.tag && hadLess(newcomer, settled));
  }
}

const hadLess = (a: Tagged, b: Tagged): boolean => a.tag < b.tag || (a.tag === b.tag && a.id < b.id);
