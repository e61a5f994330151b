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

/** What credits are held for: a generation, or the items of a batch that are not queued yet. */
export type ReservationSubject = { readonly generationId: string } | { readonly batchId: string };

export async function insertReservation(
  tx: Tx,
  reservation: ReservationSubject & { tenantId: string; credits: bigint },
): Promise<void> {
  await tx.reservation.create({ data: { id: newId(), ...reservation } });
}

export interface EndedReservation {
  readonly tenantId: string;
  readonly batchId: string | null;
  /** What was held at the end. */
  readonly credits: bigint;
  readonly settled: bigint;
}

/** Ends the open reservation of a generation; undefined when it has ended already. */
export async function endReservation(
  tx: Tx,
  generationId: string,
  charge: bigint,
): Promise<EndedReservation | undefined> {
  const [row] = await tx.$queryRaw<EndedReservation[]>`
    update reservation set settled = least(credits, ${charge}), ended_at = now()
    where generation_id = ${generationId}::uuid and ended_at is null
    returning tenant_id as "tenantId", batch_id as "batchId", credits, settled`;
  return row;
}

/** Ends what the waiting items of a batch hold; undefined when it has ended already. */
export async function endWaitingReservation(tx: Tx, batchId: string): Promise<EndedReservation | undefined> {
  const [row] = await tx.$queryRaw<EndedReservation[]>`
    update reservation set settled = 0, ended_at = now()
    where batch_id = ${batchId}::uuid and generation_id is null and ended_at is null
    returning tenant_id as "tenantId", batch_id as "batchId", credits, settled`;
  return row;
}

/** Makes that much of what the waiting items of a batch hold free to be held otherwise; false when it is not there. */
export async function shrinkWaitingReservation(tx: Tx, batchId: string, credits: bigint): Promise<boolean> {
  const changed = await tx.$executeRaw`
    update reservation set credits = credits - ${credits},
      settled = case when credits = ${credits} then 0 end, ended_at = case when credits = ${credits} then now() end
    where batch_id = ${batchId}::uuid and generation_id is null and ended_at is null and credits >= ${credits}`;
  return changed === 1;
}

export interface ItemReservation {
  readonly generationId: string;
  readonly credits: bigint;
}

export async function insertItemReservations(
  tx: Tx,
  { tenantId, batchId }: { tenantId: string; batchId: string },
  items: readonly ItemReservation[],
): Promise<void> {
  await tx.reservation.createMany({ data: items.map((item) => ({ id: newId(), tenantId, batchId, ...item })) });
}

export interface NewLedgerEntry {
  readonly tenantId: string;
  readonly kind: LedgerKind;
  /** Change of the balance. */
  readonly credits: bigint;
  /** Change of what is held. */
  readonly held: bigint;
  readonly generationId?: string;
  readonly batchId?: string | null;
  readonly reason: string;
}

export async function insertLedgerEntry(tx: Tx, entry: NewLedgerEntry): Promise<void> {
  await tx.ledgerEntry.create({ data: { id: newId(), ...entry } });
}
