/** The nightly check of everything that is counted. Counters are mended from the rows; the ledger is only reported on. */
import { asDispatcher } from "../platform/access.ts";
import type { Database } from "../platform/database.ts";
import type { Logger } from "../platform/logger.ts";
import { repairCounters, type WrongCounter } from "./limit.store.ts";
import { endLeaked, listUnbalanced, prolongOpen, type UnbalancedTenant } from "./quota-check.store.ts";

const MICRO_CREDITS = 1_000_000;
/** Ended in one transaction. */
const BATCH = 100;

export interface QuotaReport {
  /** Tenants whose ledger, balance and reservations do not agree. */
  readonly unbalanced: readonly UnbalancedTenant[];
  /** Mended. */
  readonly counters: readonly WrongCounter[];
  /** Reservations of what had ended without them: released. */
  readonly leaked: number;
}

export class QuotaCheck {
  constructor(private readonly services: { db: Database; logger: Logger }) {}

  async runOnce(): Promise<QuotaReport> {
    const { db, logger } = this.services;
    let leaked = 0;
    for (let ended = BATCH; ended === BATCH; leaked += ended)
      ended = await db.transaction(asDispatcher, (tx) => endLeaked(tx, BATCH));
    await db.transaction(asDispatcher, prolongOpen);
    const counters = await db.transaction(asDispatcher, repairCounters);
    const unbalanced = await db.transaction(asDispatcher, listUnbalanced);
    if (leaked > 0) logger.error({ leaked }, "reservations outlived their generations: released");
    for (const counter of counters) logger.error({ counter: textOf(counter) }, "counter of a limit was wrong: mended");
    for (const tenant of unbalanced)
      logger.error({ tenant: textOf(tenant) }, "ledger, balance and reservations do not agree");
    return { unbalanced, counters, leaked };
  }
}

/** In credits: how far its balance, what it holds and its open reservations are from what the ledger says, added up. */
export function driftOf({ balance, entries, held, entriesHeld, reserved }: UnbalancedTenant): number {
  const apart = [balance - entries, held - entriesHeld, held - reserved];
  return apart.reduce((sum, micros) => sum + Math.abs(Number(micros)), 0) / MICRO_CREDITS;
}

const textOf = (value: object): object =>
  Object.fromEntries(
    Object.entries(value).map(([key, member]) => [key, typeof member === "bigint" ? String(member) : member]),
  );
