/**
 * Limits and credits: counted and held when work is accepted, settled or released when it ends. A batch holds the credits of
 * all its items from the beginning; each item takes its part along when it is queued. Callers own the transaction.
 */
import type { Tx } from "../platform/database.ts";
import { invariant } from "../platform/errors.ts";
import { amountsOf, type Demand } from "./demand.ts";
import { countStored, feedLimits, listFull, type Payer, type StoredBytes } from "./limit.store.ts";
import {
  changeBalance,
  endReservation,
  endWaitingReservation,
  type ItemReservation,
  insertItemReservations,
  insertLedgerEntry,
  insertReservation,
  type Settlement,
  shrinkWaitingReservation,
} from "./quota.store.ts";
import { quotaError } from "./quota-error.ts";

export type { Payer } from "./limit.store.ts";

export class QuotaService {
  async grant(tx: Tx, tenantId: string, { credits, reason }: { credits: bigint; reason: string }): Promise<void> {
    await this.changeBalance(tx, tenantId, { credits, reason, kind: "GRANT" });
  }

  /** False when the tenant has not that much left to take away. */
  async changeBalance(
    tx: Tx,
    tenantId: string,
    { credits, reason, kind }: { credits: bigint; reason: string; kind: "GRANT" | "ADJUST" },
  ): Promise<boolean> {
    if (!(await changeBalance(tx, tenantId, credits))) return false;
    await insertLedgerEntry(tx, { tenantId, kind, credits, held: 0n, reason });
    return true;
  }

  /**
   * Counts a batch against the limits of its payer and holds the credits of all its items, or throws QUOTA_EXHAUSTED. Items
   * are counted as queued and drawn when they are queued. Locks limits: last act of a transaction.
   */
  async reserveForBatch(tx: Tx, payer: Payer, batchId: string, demand: Demand): Promise<void> {
    const asking = { place: 0, payer, subject: { batchId }, demand };
    const refusing = await insertReservation(tx, asking, "batch accepted");
    if (refusing.length > 0) throw quotaError(refusing, amountsOf(demand, true));
  }

  /** Ends the reservation of a generation: charges at most what was held, and frees the rest. Locks limits: last act of a transaction. */
  async settle(tx: Tx, generationId: string, settlement: Settlement): Promise<void> {
    const hasEnded = await endReservation(tx, generationId, settlement);
    invariant(hasEnded, `the reservation of generation ${generationId} ended twice`);
  }

  /** Counts what is stored, or throws QUOTA_EXHAUSTED. Locks limits: last act of a transaction. */
  async store(tx: Tx, payer: Payer, bytes: number): Promise<void> {
    const full = await listFull(tx, payer, BigInt(bytes));
    if (full.length > 0) throw quotaError(full, { STORAGE_BYTES: BigInt(bytes) });
    await countStored(tx, payer.tenantId, [{ ...payer, bytes }]);
  }

  /** Counts what a tenant's members store no longer. Locks limits: last act of a transaction. */
  async free(tx: Tx, tenantId: string, freed: readonly StoredBytes[]): Promise<void> {
    const stored = freed.filter(({ bytes }) => bytes > 0).map((each) => ({ ...each, bytes: -each.bytes }));
    if (stored.length > 0) await countStored(tx, tenantId, stored);
  }

  /** How many of the next items of a batch may be queued now; counts them. The others wait. Locks limits. */
  async feed(tx: Tx, payer: Payer, pixels: readonly bigint[]): Promise<number> {
    return pixels.length === 0 ? 0 : feedLimits(tx, payer, pixels);
  }

  /** Hands credits that a batch holds to the generations of some of its items. What is held in all stays the same. */
  async handOver(tx: Tx, batchId: string, items: readonly ItemReservation[]): Promise<void> {
    const credits = items.reduce((sum, item) => sum + item.credits, 0n);
    const isHeld = await shrinkWaitingReservation(tx, batchId, credits);
    invariant(isHeld, `batch ${batchId} does not hold the credits of its items`);
    await insertItemReservations(tx, batchId, items);
  }

  /** Frees what the items of a batch hold that are not queued yet. Locks limits: last act of a transaction. */
  async releaseWaiting(tx: Tx, batchId: string, reason: string): Promise<void> {
    await endWaitingReservation(tx, batchId, reason);
  }
}
