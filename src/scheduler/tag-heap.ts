export interface Tagged {
  readonly id: string;
  tag: number;
}

interface Node<M extends Tagged> {
  readonly member: M;
  place: number;
}

/** The lowest tag first; of equal tags the lower id. A binary heap that knows where each of its members stands. */
export class TagHeap<M extends Tagged> {
  private readonly nodes: Node<M>[] = [];
  private readonly byMember = new Map<M, Node<M>>();

  get size(): number {
    return this.nodes.length;
  }

  has(member: M): boolean {
    return this.byMember.has(member);
  }

  first(): M | undefined {
    return this.nodes[0]?.member;
  }

  /** The first ones, in order: a look at few of the members, however many there are. */
  firsts(count: number): readonly M[] {
    const firsts: M[] = [];
    const next = this.nodes.slice(0, 1);
    while (firsts.length < count) {
      const first = next.reduce<Node<M> | undefined>(
        (lowest, node) => (lowest === undefined || isBefore(node.member, lowest.member) ? node : lowest),
        undefined,
      );
      if (first === undefined) break;
      firsts.push(first.member);
      next.splice(next.indexOf(first), 1, ...this.nodes.slice(2 * first.place + 1, 2 * first.place + 3));
    }
    return firsts;
  }

  add(member: M): void {
    if (this.has(member)) return;
    const node = { member, place: this.nodes.length };
    this.byMember.set(member, node);
    this.nodes.push(node);
    this.rise(node);
  }

  remove(member: M): void {
    const node = this.byMember.get(member);
    if (node === undefined) return;
    this.byMember.delete(member);
    const last = this.nodes.pop();
    if (last === undefined || last === node) return;
    this.put(last, node.place);
    this.rise(last);
    this.sink(last);
  }

  /** Its tag was changed. */
  moved(member: M): void {
    const node = this.byMember.get(member);
    if (node === undefined) return;
    this.rise(node);
    this.sink(node);
  }

  private rise(node: Node<M>): void {
    let { place } = node;
    for (; place > 0; ) {
      const parent = this.nodes[(place - 1) >> 1];
      if (parent === undefined || !isBefore(node.member, parent.member)) break;
      const above = parent.place;
      this.put(parent, place);
      place = above;
    }
    this.put(node, place);
  }

  private sink(node: Node<M>): void {
    let { place } = node;
    for (;;) {
      const [left, right] = [this.nodes[2 * place + 1], this.nodes[2 * place + 2]];
      const child = left !== undefined && right !== undefined && isBefore(right.member, left.member) ? right : left;
      if (child === undefined || !isBefore(child.member, node.member)) break;
      const below = child.place;
      this.put(child, place);
      place = below;
    }
    this.put(node, place);
  }

  private put(node: Node<M>, place: number): void {
    this.nodes[place] = node;
    node.place = place;
  }
}

export const isBefore = (a: Tagged, b: Tagged): boolean => a.tag < b.tag || (a.tag === b.tag && a.id < b.id);
