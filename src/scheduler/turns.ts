/**
 * Shares that have something waiting, in the order of their turns: the lowest tag first. Idling saves nothing up: nobody's turn
 * begins below the floor, the lowest tag of those that wait; while nobody waits, where the last turn began.
 *
 * A newcomer, who has had no turn since it joined, is lifted to the floor when its turn comes and not when it joins. What others
 * were charged may be put right in between: then the floor was too high, and who waits at it would wait in vain. So a newcomer
 * has its turn no later than who is lowest of the others, and what is put right of its own from before is not saved up.
 */
import { isBefore, type Tagged, TagHeap } from "./tag-heap.ts";

export class Turns<S extends Tagged> {
  /** Those that have had a turn since they joined. */
  private readonly settled = new TagHeap<S>();
  private readonly newcomers = new TagHeap<S>();
  /** Below it no newcomer's turn begins, unless all others are lower. */
  private highest = 0;

  get size(): number {
    return this.settled.size + this.newcomers.size;
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

  join(share: S): void {
    if (this.has(share)) return;
    this.raise(this.floor);
    this.newcomers.add(share);
  }

  private has(share: S): boolean {
    return this.settled.has(share) || this.newcomers.has(share);
  }

  remove(share: S): void {
    this.settled.remove(share);
    this.newcomers.remove(share);
  }

  /** Its tag was changed. */
  moved(share: S): void {
    this.settled.moved(share);
    this.newcomers.moved(share);
  }

  first(): S | undefined {
    const [settled, newcomer] = [this.settled.first(), this.newcomers.first()];
    if (settled === undefined || newcomer === undefined) return settled ?? newcomer;
    return this.isBefore(newcomer, settled) ? newcomer : settled;
  }

  /** The first ones, in order: a look at few of the shares, however many there are. */
  firsts(count: number): readonly S[] {
    const newcomers = this.newcomers.firsts(count);
    const firsts: S[] = [];
    let taken = 0;
    for (const share of this.settled.firsts(count)) {
      for (let next = newcomers[taken]; next !== undefined && this.isBefore(next, share); ) {
        firsts.push(next);
        next = newcomers[++taken];
      }
      firsts.push(share);
    }
    return [...firsts, ...newcomers.slice(taken)].slice(0, count);
  }

  /** The turn of the first one begins: it is charged from the floor on. */
  begin(share: S): void {
    this.settle(share);
    this.raise(share.tag);
  }

  /** As when its turn begins; but it starts in the turn of another, and the floor stays. */
  settle(share: S): void {
    if (!this.newcomers.has(share)) return;
    share.tag = this.lifted(share);
    this.newcomers.remove(share);
    this.settled.add(share);
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
    return tag < settled.tag || (tag === settled.tag && isBefore(newcomer, settled));
  }
}
