/** Attempts of one claim, until they can start together. */

/** As the request names it. */
export interface Group {
  readonly id: string;
  /** Attempts of the claim. */
  readonly size: number;
}

/** After the first one has come. One that comes later starts with those that come after it. */
const MAX_WAIT_MS = 50;

interface Arrival<Run> {
  readonly runs: Run[];
  readonly timer: NodeJS.Timeout;
}

export class GroupArrivals<Run> {
  private readonly waiting = new Map<string, Arrival<Run>>();

  /** @param start called with the attempts that have come: all of a group, or those that came in time */
  constructor(private readonly start: (runs: readonly Run[]) => void) {}

  add(run: Run, { id, size }: Group): void {
    const group = this.waiting.get(id) ?? this.open(id);
    group.runs.push(run);
    if (group.runs.length >= size) this.startNow(id);
  }

  /** Starts a group with those that have come; nothing when it has started already. */
  startNow(id: string): void {
    const group = this.waiting.get(id);
    if (group === undefined) return;
    clearTimeout(group.timer);
    this.waiting.delete(id);
    this.start(group.runs);
  }

  private open(id: string): Arrival<Run> {
    const group = { runs: [], timer: setTimeout(() => this.startNow(id), MAX_WAIT_MS) };
    this.waiting.set(id, group);
    return group;
  }
}
