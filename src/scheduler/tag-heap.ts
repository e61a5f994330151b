export interface Tagged {
  readonly id: string;
  readonly tag: number;
  /** Where it stands in its heap; NOWHERE in none. It is in one at a time. */
  place: number;
}

export const NOWHERE = -1;

/**
 * The lowest tag first; of equal tags the lower id. A binary heap whose members know where they stand in it. Tags stand side by
 * side, as they were when their members were added or moved last: of thousands of members few are looked at.
 */
export class TagHeap<M extends Tagged> {
  private readonly members: M[] = [];
  private readonly tags: number[] = [];
  private top: M | undefined;

  get size(): number {
    return this.members.length;
  }

  has(member: M): boolean {
    return member.place !== NOWHERE && this.members[member.place] === member;
  }

  first(): M | undefined {
    return this.top;
  }

  /** The first ones, in order: a look at few of the members, however many there are. */
  firsts(count: number): readonly M[] {
    const firsts: M[] = [];
    const next = this.members.slice(0, 1);
    while (firsts.length < count) {
      const first = next.reduce<M | undefined>(
        (lowest, member) => (lowest === undefined || this.isBefore(member.place, lowest.place) ? member : lowest),
        undefined,
      );
      if (first === undefined) break;
      firsts.push(first);
      next.splice(next.indexOf(first), 1, ...this.members.slice(2 * first.place + 1, 2 * first.place + 3));
    }
    return firsts;
  }

  add(member: M): void {
    if (this.has(member)) return;
    this.put(this.members.length, member, member.tag);
    this.rise(member.place);
  }

  remove(member: M): void {
    if (!this.has(member)) return;
    const { place } = member;
    const last = this.members.pop();
    const tag = this.tags.pop();
    member.place = NOWHERE;
    if (place === 0) this.top = undefined;
    if (last === undefined || tag === undefined || last === member) return;
    this.put(place, last, tag);
    this.rise(place);
    this.sink(last.place);
  }

  /** Its tag was changed. */
  moved(member: M): void {
    if (!this.has(member)) return;
    this.tags[member.place] = member.tag;
    this.rise(member.place);
    this.sink(member.place);
  }

  private rise(from: number): void {
    let place = from;
    while (place > 0) {
      const above = (place - 1) >> 1;
      if (!this.isBefore(place, above)) return;
      this.swap(place, above);
      place = above;
    }
  }

  private sink(from: number): void {
    let place = from;
    for (;;) {
      const left = 2 * place + 1;
      const below = this.isBefore(left + 1, left) ? left + 1 : left;
      if (!this.isBefore(below, place)) return;
      this.swap(below, place);
      place = below;
    }
  }

  /** Of two places; nobody is before anybody where nobody stands. */
  private isBefore(a: number, b: number): boolean {
    const { members, tags } = this;
    if (a >= tags.length) return false;
    const [ofA, ofB] = [tags[a] ?? 0, tags[b] ?? 0];
    return ofA < ofB || (ofA === ofB && (members[a]?.id ?? "") < (members[b]?.id ?? ""));
  }

  private swap(a: number, b: number): void {
    const { members, tags } = this;
    const [atA, atB] = [members[a], members[b]];
    if (atA === undefined || atB === undefined) return;
    const tag = tags[a] ?? 0;
    this.put(a, atB, tags[b] ?? 0);
    this.put(b, atA, tag);
  }

  private put(place: number, member: M, tag: number): void {
    this.members[place] = member;
    this.tags[place] = tag;
    member.place = place;
    if (place === 0) this.top = member;
  }
}
