/** Reservations and the ledger. Each change is one statement, whose last part locks the limits it counts against. */
import { Prisma } from "../generated/prisma/client.ts";
import type { LedgerKind, TaskKind } from "../generated/prisma/enums.ts";
import type { Tx } from "../platform/database.ts";
import { newId } from "../platform/ids.ts";
import { amountsOf, type Demand } from "./demand.ts";
import { balanceKey, type LimitRow, type Payer, type RefusingRow, refusalsOf, toJson } from "./limit.store.ts";

/** A reservation that is open for longer is looked at: longer than any deadline. */
const EXPIRY_DAYS = 8;
const expiry = Prisma.sql`now() + make_interval(days => ${EXPIRY_DAYS}::int)`;

/** Changes what a tenant was granted in all; false when less would be left than is used and held. */
export async function changeBalance(tx: Tx, tenantId: string, credits: bigint): Promise<boolean> {
  const key = balanceKey(tenantId);
  if (credits >= 0n) {
    await tx.limit.upsert({
      where: { tenantId_level_subjectId_kind_window: key },
      create: { ...key, max: credits },
      update: { max: { increment: credits }, version: { increment: 1 } },
    });
    return true;
  }
  const changed = await tx.$executeRaw`
    update limits set max = max + ${credits}, version = version + 1
    where tenant_id = ${tenantId}::uuid and level = 'TENANT' and subject_id = ${tenantId}::uuid and kind = 'CREDITS' and "window" = 'TOTAL'
      and used + held <= max + ${credits}`;
  return changed === 1;
}

/** What credits are held for: a generation, or the items of a batch that are not queued yet. */
export type ReservationSubject = { readonly generationId: string } | { readonly batchId: string };

/** One of several that ask for what they need of limits. */
export interface Asking {
  readonly place: number;
  readonly payer: Payer;
  readonly subject: ReservationSubject;
  readonly demand: Demand;
}

/** As a row of `asked`. */
export const toAsked = ({ place, payer, subject, demand }: Asking) => ({
  place,
  user_id: payer.userId,
  api_key_id: payer.apiKeyId,
  generation_id: "generationId" in subject ? subject.generationId : null,
  batch_id: "batchId" in subject ? subject.batchId : null,
  credits: demand.credits,
  amounts: amountsOf(demand, "batchId" in subject),
  reservation_id: newId(),
  ledger_entry_id: newId(),
});

export const ASKED_COLUMNS = Prisma.sql`place integer, user_id uuid, api_key_id uuid, generation_id uuid, batch_id uuid,
  credits bigint, amounts jsonb, reservation_id uuid, ledger_entry_id uuid`;

/**
 * Parts of a statement that has `asked`: `refusal`, the limits that refuse some of it, and `admitted`, the rest, whose credits
 * are reserved. Limits stay locked until the transaction ends: nothing that waits for another transaction may come after.
 */
export const reserving = (tenantId: string, reason: string): Prisma.Sql => Prisma.sql`
    refusal as (${refusalsOf(tenantId)}), admitted as (
      select * from asked where place not in (select place from refusal)
    ), reserved as (
      insert into reservation (id, tenant_id, user_id, api_key_id, generation_id, batch_id, credits, expires_at)
      select reservation_id, ${tenantId}::uuid, user_id, api_key_id, generation_id, batch_id, credits, ${expiry} from admitted
    ), noted as (
      insert into ledger_entry (id, tenant_id, kind, credits, held, generation_id, batch_id, reason)
      select ledger_entry_id, ${tenantId}::uuid, 'RESERVE', 0, credits, generation_id, batch_id, ${reason} from admitted
    )`;

/** Reserves and counts against every limit. @returns the limits that refuse: then nothing is counted or reserved */
export async function insertReservation(tx: Tx, asking: Asking, reason: string): Promise<readonly LimitRow[]> {
  return tx.$queryRaw<RefusingRow[]>`
    with asked as (select * from jsonb_to_recordset(${toJson([toAsked(asking)])}::jsonb) as a (${ASKED_COLUMNS})),
    ${reserving(asking.payer.tenantId, reason)}
    select * from refusal`;
}

/** How the usage of a day counts an end. */
export interface EndedWork {
  readonly task: TaskKind;
  readonly hasSucceeded: boolean;
  /** Of the pictures that were drawn. */
  readonly pixels: bigint;
}

export interface Settlement {
  /** Charged of what was held: what was done, in any unit, as a share of all that there was to do. At most all of it. */
  readonly done: bigint;
  readonly whole: bigint;
  readonly reason: string;
  /** Undefined for what never was queued. */
  readonly work?: EndedWork;
}

/** Ends the open reservation of a generation; false when it has ended already. */
export async function endReservation(tx: Tx, generationId: string, settlement: Settlement): Promise<boolean> {
  return settle(tx, Prisma.sql`generation_id = ${generationId}::uuid`, settlement);
}

/** Ends what the waiting items of a batch hold; false when it has ended already. */
export async function endWaitingReservation(tx: Tx, batchId: string, reason: string): Promise<boolean> {
  return settle(tx, Prisma.sql`batch_id = ${batchId}::uuid and generation_id is null`, { done: 0n, whole: 1n, reason });
}

async function settle(tx: Tx, condition: Prisma.Sql, { done, whole, reason, work }: Settlement): Promise<boolean> {
  const used = work === undefined ? Prisma.empty : countUse(work);
  const rows = await tx.$queryRaw<unknown[]>`
    with ended as (
      update reservation set settled = least(credits, ceil(credits * ${done}::numeric / ${whole}))::bigint, ended_at = now() where ${condition} and ended_at is null
      returning *
    ), noted as (
      insert into ledger_entry (id, tenant_id, kind, credits, held, generation_id, batch_id, reason)
      select ${newId()}::uuid, tenant_id, (case settled when 0 then 'RELEASE' else 'SETTLE' end)::ledger_kind, -settled, -credits, generation_id, batch_id, ${reason}
      from ended
    )${used}
    select limits_settle(tenant_id, user_id, api_key_id, credits, settled)::text from ended`;
  return rows.length === 1;
}

/** The row of a day is locked after the limits. */
const countUse = ({ task, hasSucceeded, pixels }: EndedWork): Prisma.Sql => Prisma.sql`, used as (
      insert into usage_day (tenant_id, day, user_id, api_key_id, task, ended, succeeded, credits, pixels)
      select tenant_id, (now() at time zone 'UTC')::date, user_id, coalesce(api_key_id, '00000000-0000-0000-0000-000000000000'),
        ${task}::task_kind, 1, ${hasSucceeded ? 1 : 0}::int, settled, ${pixels} from ended
      on conflict (tenant_id, day, user_id, api_key_id, task) do update set ended = usage_day.ended + 1,
        succeeded = usage_day.succeeded + excluded.succeeded, credits = usage_day.credits + excluded.credits, pixels = usage_day.pixels + excluded.pixels
    )`;

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

/** The items' are their batch's payer's. */
export async function insertItemReservations(
  tx: Tx,
  batchId: string,
  items: readonly ItemReservation[],
): Promise<void> {
  await tx.$executeRaw`
    insert into reservation (id, tenant_id, user_id, api_key_id, generation_id, batch_id, credits, expires_at)
    select item.id, b.tenant_id, b.user_id, b.api_key_id, item.generation_id, b.id, item.credits, ${expiry}
    from unnest(${items.map(() => newId())}::uuid[], ${items.map(({ generationId }) => generationId)}::uuid[], ${items.map(({ credits }) => String(credits))}::bigint[])
      as item (id, generation_id, credits)
    join batch b on b.id = ${batchId}::uuid`;
}

export interface NewLedgerEntry {
  readonly tenantId: string;
  readonly kind: LedgerKind;
  /** Change of the balance. */
  readonly credits: bigint;
  /** Change of what is held. */
  readonly held: bigint;
  readonly reason: string;
}

export async function insertLedgerEntry(tx: Tx, entry: NewLedgerEntry): Promise<void> {
  await tx.ledgerEntry.create({ data: { id: newId(), ...entry } });
}
