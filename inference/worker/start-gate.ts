/** Who computes, and who waits on standby until nobody does: then they begin in the same moment. */
export class StartGate {
  private readonly computing = new Set<string>();
  /** Opened for each by a call; there is one only while somebody computes. */
  private readonly waiting = new Map<string, () => void>();

  /** Runs that start together: now, or when their turn has come. Each of them has to leave. */
  enter(runs: readonly { readonly run: string; readonly isOnStandby: boolean }[]): void {
    const isBusy = this.computing.size > 0;
    for (const { run, isOnStandby } of runs) {
      if (isOnStandby && isBusy) this.waiting.set(run, () => {});
      else this.computing.add(run);
    }
  }

  /** Resolves when the run may compute; rejects when it is aborted before. */
  async turn(run: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (!this.waiting.has(run)) return;
    await new Promise<void>((resolve, reject) => {
      this.waiting.set(run, resolve);
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
    });
  }

  /** It computes nothing any more. */
  leave(run: string): void {
    this.waiting.delete(run);
    this.computing.delete(run);
    if (this.computing.size > 0) return;
    const next = [...this.waiting];
    this.waiting.clear();
    for (const [each] of next) this.computing.add(each);
    for (const [, open] of next) open();
  }
}
