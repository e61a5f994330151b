/** Credits: granted, held while a generation may run, settled or released when it ends. Callers own the transaction. */
import type { Tx } from "../platform/database.ts";
import { DomainError, invariant } from "../platform/errors.ts";
import {
  addGrant,
  endReservation,
  findCredits,
  insertLedgerEntry,
  insertReservation,
  tryHold,
  unhold,
} from "./quota.store.ts";
import { formatCredits } from "./tariff.ts";

export interface ReservationRequest {
  readonly tenantId: string;
  readonly generationId: string;
  readonly credits: bigint;
}

export class QuotaService {
  async grant(tx: Tx, tenantId: string, { credits, reason }: { credits: bigint; reason: string }): Promise<void> {
    await addGrant(tx, tenantId, credits);
    await insertLedgerEntry(tx, { tenantId, kind: "GRANT", credits, held: 0n, reason });
  }

  /** Holds the credits of a generation or throws QUOTA_EXHAUSTED. Locks the limit row: last act of a transaction. */
  async reserve(tx: Tx, { tenantId, generationId, credits }: ReservationRequest): Promise<void> {
    await insertReservation(tx, { tenantId, generationId, credits });
    await insertLedgerEntry(tx, {
      tenantId,
      kind: "RESERVE",
      credits: 0n,
      held: credits,
      generationId,
      reason: "generation queued",
    });
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
    const { tenantId, credits, settled } = ended;
    const kind = settled === 0n ? "RELEASE" : "SETTLE";
    await insertLedgerEntry(tx, { tenantId, kind, credits: -settled, held: -credits, generationId, reason });
    await unhold(tx, tenantId, { held: credits, used: settled });
  }
}
