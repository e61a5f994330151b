/** Time as this process sees it. Deadlines of leases are judged by the database's clock only. */
export interface Clock {
  now(): Date;
}

export const systemClock: Clock = { now: () => new Date() };
