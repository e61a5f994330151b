/**
 * How long an attempt waited on standby, and how long it held its worker: only that is charged, for what came before was the
 * time of others.
 */
import type { Clock } from "../platform/clock.ts";

/** What runs may take this much longer than was expected before what is on standby behind it is given back. */
const MAX_DELAY_FACTOR = 3;
const MAX_DELAY_MS = 10_000;

export class AttemptTimes {
  private readonly claimedAt: number;
  private begunAt: number | undefined;
  private endedAt: number | undefined;

  /** @param expectedMs for which it is expected to wait on standby; undefined of one that begins at once */
  constructor(
    private readonly clock: Clock,
    private readonly expectedMs: number | undefined,
  ) {
    this.claimedAt = this.now();
    if (expectedMs === undefined) this.begunAt = this.claimedAt;
  }

  /** The worker has begun with it. */
  begin(): void {
    this.begunAt ??= this.now();
  }

  /** It gave its worker back. */
  end(): void {
    this.endedAt ??= this.now();
  }

  get hasEnded(): boolean {
    return this.endedAt !== undefined;
  }

  get isOnStandby(): boolean {
    return this.begunAt === undefined && this.endedAt === undefined;
  }

  /** Milliseconds for which it held, or has held, its worker. */
  get heldMs(): number {
    return this.begunAt === undefined ? 0 : (this.endedAt ?? this.now()) - this.begunAt;
  }

  get standbyMs(): number {
    return (this.begunAt ?? this.endedAt ?? this.now()) - this.claimedAt;
  }

  /** What it waits for takes so long that it had better run elsewhere. */
  get isOverdue(): boolean {
    return this.isOnStandby && this.standbyMs > MAX_DELAY_MS + MAX_DELAY_FACTOR * (this.expectedMs ?? 0);
  }

  private now(): number {
    return this.clock.elapsedMs();
  }
}
