/** Time as this process sees it. Deadlines of leases are judged by the database's clock only. */
export interface Clock {
  /** The time of day. It may jump: what lasts is not measured with it. */
  now(): Date;
  /** Milliseconds since some moment: never jumps, and goes on while the time of day is put right. */
  elapsedMs(): number;
}

export const systemClock: Clock = { now: () => new Date(), elapsedMs: () => performance.now() };
