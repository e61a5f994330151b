/** What work needs of limits. */
import type { LimitKind } from "../generated/prisma/enums.ts";

/** What a piece of work needs at most. */
export interface Demand {
  readonly credits: bigint;
  /** Of the pictures it draws. */
  readonly pixels: bigint;
}

/** What some work needs of each kind of limit; kinds that are left out are not asked. */
export type Amounts = Partial<Readonly<Record<Exclude<LimitKind, "RUNNING">, bigint>>>;

/** The items of a batch are counted as queued and drawn when they are queued. */
export const amountsOf = ({ credits, pixels }: Demand, isBatch: boolean): Amounts => ({
  REQUESTS_PER_MINUTE: 1n,
  CREDITS: credits,
  ...(pixels > 0n && { STORAGE_BYTES: 1n }),
  ...(isBatch ? {} : { QUEUED: 1n, PIXELS_PER_MINUTE: pixels }),
});
