/**
 * Is it the worker, or what it was given? Failures of a worker with no success in between may all be one generation's doing
 * as long as there is one that was part of each. Once there is none the worker is at fault, and is left alone for ever longer.
 */

const FIRST_QUARANTINE_MS = 10_000;
const MAX_QUARANTINE_MS = 600_000;
/** Generations of which it is remembered on which worker they failed alone. */
const MAX_REMEMBERED = 1000;

interface Faults {
  /** Generations that were part of all of its failures since its last success. */
  suspects: ReadonlySet<string>;
  /** Failures since its last success for which it is to blame. */
  count: number;
}

export class WorkerFaults {
  private readonly byWorker = new Map<string, Faults>();
  /** The first worker that failed a generation which was alone there. */
  private readonly failedAlone = new Map<string, string>();

  /**
   * @param suspects generations that it ran
   * @returns milliseconds for which it is quarantined; undefined while it may be somebody else's doing
   */
  failed(worker: string, suspects: readonly string[]): number | undefined {
    if (this.isKnownCulprit(worker, suspects)) return undefined;
    const before = this.byWorker.get(worker);
    const common = new Set(suspects.filter((id) => before?.suspects.has(id) ?? true));
    const count = (before?.count ?? 0) + (common.size === 0 ? 1 : 0);
    this.byWorker.set(worker, { suspects: common, count });
    return count === 0 ? undefined : Math.min(FIRST_QUARANTINE_MS * 2 ** (count - 1), MAX_QUARANTINE_MS);
  }

  /** An earlier leader quarantined it for so long: its next failure counts on from there. */
  restore(worker: string, quarantineMs: number): void {
    const count = 1 + Math.max(0, Math.ceil(Math.log2(quarantineMs / FIRST_QUARANTINE_MS)));
    this.byWorker.set(worker, { suspects: new Set(), count });
  }

  /** It succeeded, or is gone. */
  forget(worker: string): void {
    this.byWorker.delete(worker);
  }

  /** It fails on whatever worker it runs. */
  private isKnownCulprit(worker: string, suspects: readonly string[]): boolean {
    const [suspect] = suspects;
    if (suspect === undefined || suspects.length > 1) return false;
    const first = this.failedAlone.get(suspect) ?? worker;
    this.failedAlone.set(suspect, first);
    const [oldest] = this.failedAlone.keys();
    if (this.failedAlone.size > MAX_REMEMBERED && oldest !== undefined) this.failedAlone.delete(oldest);
    return first !== worker;
  }
}
