/** Batches as a whole. Rows of drafts, which are still being written, are found by nobody but their writer and the sweep. */
import type { Batch as BatchRow } from "../generated/prisma/client.ts";
import type { GenerationState } from "../generated/prisma/enums.ts";
import type { Tx } from "../platform/database.ts";
import type { BatchKey } from "./batch-item.store.ts";
import { type HistoryPage, historyQuery } from "./history.ts";
import type { TextToImageSettings } from "./settings.ts";

export type { BatchRow };

/** What the items of a batch have in common, unless they say otherwise. */
export type BatchSettings = Omit<TextToImageSettings, "prompt" | "seed">;

export interface NewBatch {
  readonly id: string;
  readonly tenantId: string;
  readonly userId: string;
  readonly apiKeyId: string | null;
  readonly pool: string;
  readonly preset: string;
  readonly settings: BatchSettings;
  readonly total: number;
  readonly credits: bigint;
}

export interface NewItem {
  readonly index: number;
  readonly customId: string;
  /** As far as they differ from the batch's. */
  readonly settings: Partial<TextToImageSettings>;
  readonly credits: bigint;
}

export async function insertDraft(tx: Tx, batch: NewBatch): Promise<void> {
  await tx.batch.create({ data: batch });
}

/** In one statement with one parameter, whatever their number: an array of 1000 takes the database a few milliseconds. */
export async function insertItems(tx: Tx, { id, tenantId }: BatchKey, items: readonly NewItem[]): Promise<void> {
  const rows = items.map(({ index, customId, settings, credits }) => [index, customId, settings, String(credits)]);
  await tx.$executeRaw`
    insert into batch_item (batch_id, tenant_id, index, custom_id, settings, credits)
    select ${id}::uuid, ${tenantId}::uuid, (item->>0)::int, item->>1, item->2, (item->>3)::bigint
    from jsonb_array_elements(${JSON.stringify(rows)}::jsonb) as item`;
}

/** From here on the batch exists. Undefined when its draft was swept away. */
export async function acceptDraft(tx: Tx, id: string): Promise<BatchRow | undefined> {
  const [row] = await tx.batch.updateManyAndReturn({
    where: { id, acceptedAt: null },
    data: { acceptedAt: new Date() },
  });
  return row;
}

/** Deletes a draft with its items; nothing happens when it was accepted. */
export async function deleteDraft(tx: Tx, id: string): Promise<void> {
  await tx.batch.deleteMany({ where: { id, acceptedAt: null } });
}

/** Drafts whose writer must have died. */
export async function listStaleDrafts(tx: Tx, olderThanHours: number): Promise<readonly string[]> {
  const rows = await tx.$queryRaw<{ id: string }[]>`
    select id from batch
    where finished_at is null and accepted_at is null and created_at < now() - make_interval(hours => ${olderThanHours}::int)`;
  return rows.map(({ id }) => id);
}

export async function findBatch(tx: Tx, id: string): Promise<BatchRow | undefined> {
  return (await tx.batch.findUnique({ where: { id, acceptedAt: { not: null } } })) ?? undefined;
}

export async function readBatches(tx: Tx, ids: readonly string[]): Promise<ReadonlyMap<string, BatchRow>> {
  const rows = await tx.batch.findMany({ where: { id: { in: [...ids] }, acceptedAt: { not: null } } });
  return new Map(rows.map((row) => [row.id, row]));
}

/** For ids that are known to exist. */
export async function getBatch(tx: Tx, id: string): Promise<BatchRow> {
  return tx.batch.findUniqueOrThrow({ where: { id, acceptedAt: { not: null } } });
}

/** Newest first, whichever side the page is taken from. */
export async function listBatches(tx: Tx, page: HistoryPage): Promise<readonly BatchRow[]> {
  const { where, ...query } = historyQuery(page);
  const rows = await tx.batch.findMany({ where: { ...where, acceptedAt: { not: null } }, ...query });
  return page.from === "newest" ? rows : rows.reverse();
}

/** Counts the end of some items; the last one ends the batch. */
export async function noteItemEnds(tx: Tx, batchId: string, state: GenerationState, count: number): Promise<void> {
  const succeeded = state === "SUCCEEDED" ? count : 0;
  const canceled = state === "CANCELED" ? count : 0;
  const failed = count - succeeded - canceled;
  await tx.$executeRaw`
    update batch set succeeded = succeeded + ${succeeded}::int, failed = failed + ${failed}::int, canceled = canceled + ${canceled}::int,
      finished_at = case when succeeded + failed + canceled + ${count}::int = total then now() end
    where id = ${batchId}::uuid`;
}

/** Ends the items that have no generation yet, and the batch when there are no others; false when it was canceled or has ended before. */
export async function cancelWaiting(tx: Tx, id: string): Promise<boolean> {
  const changed = await tx.$executeRaw`
    update batch set cancel_requested_at = now(), canceled = canceled + total - next_index,
      finished_at = case when succeeded + failed + canceled = next_index then now() end
    where id = ${id}::uuid and cancel_requested_at is null and finished_at is null`;
  return changed === 1;
}

/** What is queued and what runs of a batch. */
export async function countOpen(tx: Tx, id: string): Promise<{ queued: number; running: number }> {
  return (await countOpenOf(tx, [id])).get(id) ?? { queued: 0, running: 0 };
}

/** Of each of the batches that has any. */
async function countOpenOf(
  tx: Tx,
  ids: readonly string[],
): Promise<ReadonlyMap<string, { queued: number; running: number }>> {
  const rows = await tx.$queryRaw<{ id: string; queued: number; running: number }[]>`
    select batch_id as id, (count(*) filter (where state = 'QUEUED'))::int as queued,
      (count(*) filter (where state = 'RUNNING'))::int as running
    from generation where batch_id = any(${[...ids]}::uuid[]) and finished_at is null group by batch_id`;
  return new Map(rows.map(({ id, queued, running }) => [id, { queued, running }]));
}

/** How many items of a batch are where. */
export interface BatchProgress {
  readonly batch: BatchRow;
  readonly queued: number;
  readonly running: number;
}

export async function readProgress(tx: Tx, ids: readonly string[]): Promise<ReadonlyMap<string, BatchProgress>> {
  const batches = await tx.batch.findMany({ where: { id: { in: [...ids] } } });
  const open = await countOpenOf(tx, ids);
  return new Map(batches.map((batch) => [batch.id, { batch, ...(open.get(batch.id) ?? { queued: 0, running: 0 }) }]));
}

/** Micro-credits of a batch. */
export interface BatchSums {
  /** When it was accepted. */
  readonly reserved: bigint;
  readonly charged: bigint;
  /** Still. */
  readonly held: bigint;
}

export async function readSums(tx: Tx, ids: readonly string[]): Promise<ReadonlyMap<string, BatchSums>> {
  const rows = await tx.$queryRaw<(BatchSums & { id: string })[]>`
    select b.id, b.credits as reserved, coalesce(sum(r.settled), 0)::bigint as charged,
      coalesce(sum(r.credits) filter (where r.ended_at is null), 0)::bigint as held
    from batch b left join reservation r on r.batch_id = b.id
    where b.id = any(${[...ids]}::uuid[]) group by b.id`;
  return new Map(rows.map((row) => [row.id, row]));
}
