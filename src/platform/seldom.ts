/** Lets the same thing be said once a minute: what goes on for hours is no news each time. */
export class Seldom {
  private readonly saidAt = new Map<string, number>();

  constructor(private readonly everyMs = 60_000) {}

  /** Whether to say it now. @param what few different ones */
  isDue(what: string): boolean {
    const now = performance.now();
    if (now - (this.saidAt.get(what) ?? Number.NEGATIVE_INFINITY) < this.everyMs) return false;
    this.saidAt.set(what, now);
    return true;
  }

  /** It is over: when it happens again, that is news. */
  forget(): void {
    this.saidAt.clear();
  }
}
