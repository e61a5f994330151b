import type { LedgerKind } from "../generated/prisma/enums.ts";
import type { Tx } from "../platform/database.ts";
import { newId } from "../platform/ids.ts";

export interface CreditBalance {
  /** Granted in all. */
  readonly max: bigint;
  readonly used: bigint;
  readonly held: bigint;
}

const tenantCredits = (tenantId: string) => ({ tenantId, level: "TENANT", kind: "CREDITS" }) as const;

export async function findCredits(tx: Tx, tenantId: string): Promise<CreditBalance | undefined> {
  const limit = await tx.limit.findUnique({ where: { tenantId_level_kind: tenantCredits(tenantId) } });
  return limit ?? undefined;
}

export async function addGrant(tx: Tx, tenantId: string, credits: bigint): Promise<void> {
  await tx.limit.upsert({
    where: { tenantId_level_kind: tenantCredits(tenantId) },
    create: { ...tenantCredits(tenantId), max: credits },
    update: { max: { increment: credits } },
  });
}

/** Holds credits if that many are free; false when not. The limit row stays locked until the transaction ends. */
export async function tryHold(tx: Tx, tenantId: string, credits: bigint): Promise<boolean> {
  const changed = await tx.$executeRaw`
    update limits set held = held + ${credits}
    where tenant_id = ${tenantId}::uuid and level = 'TENANT' and kind = 'CREDITS' and used + held + ${credits} <= max`;
  return changed === 1;
}

/** Turns held credits into used and free ones. */
export async function unhold(tx: Tx, tenantId: string, { held, used }: { held: bigint; used: bigint }): Promise<void> {
  await tx.limit.update({
    where: { tenantId_level_kind: tenantCredits(tenantId) },
    data: { held: { decrement: held }, used: { increment: used } },
  });
}

export async function insertReservation(
  tx: Tx,
  reservation: { generationId: string; tenantId: string; credits: bigint },
): Promise<void> {
  await tx.reservation.create({ data: reservation });
}

/** Ends an open reservation; undefined when it has ended already. */
export async function endReservation(
  tx: Tx,
  generationId: string,
  charge: bigint,
): Promise<{ tenantId: string; credits: bigint; settled: bigint } | undefined> {
  const [row] = await tx.$queryRaw<{ tenant_id: string; credits: bigint; settled: bigint }[]>`
    update reservation set settled = least(credits, ${charge}), ended_at = now()
    where generation_id = ${generationId}::uuid and ended_at is null
    returning tenant_id, credits, settled`;
  return row && { tenantId: row.tenant_id, credits: row.credits, settled: row.settled };
}

export interface NewLedgerEntry {
  readonly tenantId: string;
  readonly kind: LedgerKind;
  /** Change of the balance. */
  readonly credits: bigint;
  /** Change of what is held. */
  readonly held: bigint;
  readonly generationId?: string;
  readonly reason: string;
}

export async function insertLedgerEntry(tx: Tx, entry: NewLedgerEntry): Promise<void> {
  await tx.ledgerEntry.create({ data: { id: newId(), ...entry } });
}
