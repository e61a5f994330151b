/**
 * Credits: granted, held while a generation may run, settled or released when it ends. A batch holds the credits of all its
 * items from the beginning; each item takes its part along when it is queued. Callers own the transaction.
 */
import type { Tx } from "../platform/database.ts";
import { DomainError, invariant } from "../platform/errors.ts";
import {
  addGrant,
  type EndedReservation,
  endReservation,
  endWaitingReservation,
  findCredits,
  type ItemReservation,
  insertItemReservations,
  insertLedgerEntry,
  insertReservation,
  type ReservationSubject,
  shrinkWaitingReservation,
  tryHold,
  unhold,
} from "./quota.store.ts";
import { formatCredits } from "./tariff.ts";

export type ReservationRequest = ReservationSubject & { readonly tenantId: string; readonly credits: bigint };

export class QuotaService {
  async grant(tx: Tx, tenantId: string, { credits, reason }: { credits: bigint; reason: string }): Promise<void> {
    await addGrant(tx, tenantId, credits);
    await insertLedgerEntry(tx, { tenantId, kind: "GRANT", credits, held: 0n, reason });
  }

  /** Holds the credits of a generation or batch, or throws QUOTA_EXHAUSTED. Locks the limit row: last act of a transaction. */
  async reserve(tx: Tx, request: ReservationRequest): Promise<void> {
    const { credits, ...subject } = request;
    const { tenantId } = request;
    await insertReservation(tx, request);
    const reason = "batchId" in request ? "batch accepted" : "generation queued";
    await insertLedgerEntry(tx, { ...subject, kind: "RESERVE", credits: 0n, held: credits, reason });
    if (await tryHold(tx, tenantId, credits)) return;
    const balance = await findCredits(tx, tenantId);
    const available = balance === undefined ? 0n : balance.max - balance.used - balance.held;
    const wait = balance !== undefined && balance.held > 0n ? "Wait for running generations to end, or ask" : "Ask";
    throw new DomainError(
      "QUOTA_EXHAUSTED",
      `This costs ${formatCredits(credits)} credits and the tenant has ${formatCredits(available)} left. ${wait} an administrator for more.`,
      {
        type: "QuotaError",
        retryable: (balance?.held ?? 0n) > 0n,
        facts: { level: "TENANT", needed: formatCredits(credits), available: formatCredits(available) },
      },
    );
  }

  /** Ends the reservation of a generation: charges `charge`, at most what was held, and frees the rest. */
  async settle(tx: Tx, generationId: string, { charge, reason }: { charge: bigint; reason: string }): Promise<void> {
    const ended = await endReservation(tx, generationId, charge);
    invariant(ended !== undefined, `the reservation of generation ${generationId} ended twice`);
    await this.free(tx, ended, { generationId, reason });
  }

  /** Hands credits that a batch holds to the generations of some of its items. What is held in all stays the same. */
  async handOver(
    tx: Tx,
    { tenantId, batchId }: { tenantId: string; batchId: string },
    items: readonly ItemReservation[],
  ): Promise<void> {
    const credits = items.reduce((sum, item) => sum + item.credits, 0n);
    const isHeld = await shrinkWaitingReservation(tx, batchId, credits);
    invariant(isHeld, `batch ${batchId} does not hold the credits of its items`);
    await insertItemReservations(tx, { tenantId, batchId }, items);
  }

  /** Frees what the items of a batch hold that are not queued yet. Locks the limit row: last act of a transaction. */
  async releaseWaiting(tx: Tx, batchId: string, reason: string): Promise<void> {
    const ended = await endWaitingReservation(tx, batchId);
    if (ended !== undefined) await this.free(tx, ended, { reason });
  }

  private async free(
    tx: Tx,
    { tenantId, batchId, credits, settled }: EndedReservation,
    { generationId, reason }: { generationId?: string; reason: string },
  ): Promise<void> {
    await insertLedgerEntry(tx, {
      tenantId,
      batchId,
      kind: settled === 0n ? "RELEASE" : "SETTLE",
      credits: -settled,
      held: -credits,
      reason,
      ...(generationId === undefined ? {} : { generationId }),
    });
    await unhold(tx, tenantId, { held: credits, used: settled });
  }
}
