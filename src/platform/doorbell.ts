/**
 * "There may be something to do": a signal without content between whoever changes queued work and whoever claims it.
 * Rings coalesce. Losing one costs time only: polling is the guarantee.
 */
export interface Doorbell {
  ring(): void;
  /** @returns a function that stops listening */
  onRing(listener: () => void): () => void;
}

/** Between the parts of one process. */
export class InProcessDoorbell implements Doorbell {
  private readonly listeners = new Set<() => void>();
  private isRinging = false;

  ring(): void {
    if (this.isRinging) return;
    this.isRinging = true;
    setImmediate(() => {
      this.isRinging = false;
      for (const listener of this.listeners) listener();
    });
  }

  onRing(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}
