/** Items of a batch: read in pages, and queued in order. */
import type { BatchItem as ItemRow } from "../generated/prisma/client.ts";
import type { Tx } from "../platform/database.ts";
import type { Demand } from "../quota/demand.ts";
import { type GenerationDetails, listItemGenerations } from "./generation.store.ts";

/** An item, and its generation once it has one. */
export interface ItemDetails extends ItemRow {
  readonly generation: GenerationDetails | undefined;
}

/** The items from `from` on, in order. */
export async function listItems(
  tx: Tx,
  batchId: string,
  { from, limit }: { from: number; limit: number },
): Promise<readonly ItemDetails[]> {
  const items = await tx.batchItem.findMany({
    where: { batchId, index: { gte: from, lt: from + limit } },
    orderBy: { index: "asc" },
  });
  const generations = await listItemGenerations(tx, batchId, { from, limit });
  const byIndex = new Map(generations.map((generation) => [generation.batchIndex, generation]));
  return items.map((item) => ({ ...item, generation: byIndex.get(item.index) }));
}

export interface BatchKey {
  readonly id: string;
  readonly tenantId: string;
}

/** A batch that has something to be done for. */
export interface OpenBatch extends BatchKey {
  readonly isCanceled: boolean;
}

/**
 * Batches with waiting items and at most `lowWater` queued or running ones, unless their tenant is suspended; and canceled
 * batches with generations that nobody has told so yet.
 */
export async function listOpenBatches(
  tx: Tx,
  { lowWater, limit }: { lowWater: number; limit: number },
): Promise<readonly OpenBatch[]> {
  return tx.$queryRaw<OpenBatch[]>`
    select b.id, b.tenant_id as "tenantId", b.cancel_requested_at is not null as "isCanceled" from batch b
    where b.finished_at is null and b.accepted_at is not null and case
      when b.cancel_requested_at is null then b.next_index < b.total and (
        select count(*) from generation g where g.batch_id = b.id and g.finished_at is null
      ) <= ${lowWater}::int and b.tenant_id <> all(array(select id from tenant where suspended_at is not null))
      else exists (
        select 1 from generation g
        where g.batch_id = b.id and g.finished_at is null and g.cancel_requested_at is null
      ) end
    order by b.id limit ${limit}::int`;
}

/** A batch whose next items may be queued. */
export interface FeedableBatch {
  readonly nextIndex: number;
  readonly userId: string;
  readonly apiKeyId: string | null;
}

/** Locks a batch that has waiting items, until the transaction ends; undefined when another process feeds it. */
export async function lockForFeeding(tx: Tx, batchId: string): Promise<FeedableBatch | undefined> {
  const [row] = await tx.$queryRaw<FeedableBatch[]>`
    select next_index as "nextIndex", user_id as "userId", api_key_id as "apiKeyId" from batch
    where id = ${batchId}::uuid and accepted_at is not null and cancel_requested_at is null and next_index < total
    for update skip locked`;
  return row;
}

/** What items ask for where it differs from their batch's settings, in order. */
export async function listItemSettings(
  tx: Tx,
  batchId: string,
  { from, limit }: { from: number; limit: number },
): Promise<readonly unknown[]> {
  const where = { batchId, index: { gte: from, lt: from + limit } };
  const rows = await tx.batchItem.findMany({ where, select: { settings: true }, orderBy: { index: "asc" } });
  return rows.map(({ settings }) => settings);
}

/** What the next items cost and draw. */
export async function listDemands(
  tx: Tx,
  batchId: string,
  { from, limit }: { from: number; limit: number },
): Promise<readonly Demand[]> {
  return tx.$queryRaw<Demand[]>`
    select credits, (settings->>'width')::bigint * (settings->>'height')::bigint * (settings->>'count')::bigint as pixels
    from (
      select i.index, i.credits, b.settings || i.settings as settings from batch_item i join batch b on b.id = i.batch_id
      where i.batch_id = ${batchId}::uuid and i.index >= ${from}::int and i.index < ${from}::int + ${limit}::int
    ) as item
    order by index`;
}

/** An item whose turn it is. */
export interface NextItem {
  readonly generationId: string;
  /** Why it is not queued: a check refuses it. */
  readonly refusal?: string | undefined;
  /** Of the trace that it is part of. */
  readonly traceparent: string | undefined;
}

/**
 * Makes generations with their first milestones of the next items, QUEUED or FAILED, and notes that they have one. The range
 * of the items is said twice: by the numbers alone the database would read all items of the batch (70 ms of 50,000, not 1 ms).
 */
export async function queueItems(
  tx: Tx,
  batchId: string,
  { from, items }: { from: number; items: readonly NextItem[] },
): Promise<void> {
  const ids = items.map(({ generationId }) => generationId);
  const refusals = items.map(({ refusal = null }) => refusal);
  const traceparents = items.map(({ traceparent = null }) => traceparent);
  await tx.$executeRaw`
    with queued as (
      insert into generation (id, tenant_id, user_id, api_key_id, pool, preset, task, priority, settings, total_steps, milestone_seq, batch_id, batch_index,
        traceparent, state, finished_at, failure_code, failure_message)
      select new.id, b.tenant_id, b.user_id, b.api_key_id, b.pool, b.preset, 'TEXT_TO_IMAGE', 'BATCH',
        b.settings || i.settings, ((b.settings || i.settings)->>'steps')::int, 1, b.id, i.index, new.traceparent,
        (case when new.refusal is null then 'QUEUED' else 'FAILED' end)::generation_state, case when new.refusal is not null then now() end,
        case when new.refusal is not null then 'CONTENT_BLOCKED' end, new.refusal
      from unnest(${ids}::uuid[], ${refusals}::text[], ${traceparents}::text[]) with ordinality as new (id, refusal, traceparent, number)
      join batch b on b.id = ${batchId}::uuid
      join batch_item i on i.batch_id = b.id and i.index = ${from}::int + new.number - 1
        and i.index >= ${from}::int and i.index < ${from}::int + ${items.length}::int
      returning id, tenant_id, state, failure_message
    ), noted as (
      insert into milestone (generation_id, tenant_id, seq, kind, attempt, state, message)
      select id, tenant_id, 1, (case state when 'QUEUED' then 'QUEUED' else 'FINISHED' end)::milestone_kind, 0, state, failure_message from queued
    )
    update batch set next_index = ${from}::int + ${items.length}::int where id = ${batchId}::uuid`;
}

/** Generations of a batch that are not asked to stop: queued ones first, so that none of them takes the slot of a running one. */
export async function listUncanceled(tx: Tx, batchId: string): Promise<readonly string[]> {
  const rows = await tx.$queryRaw<{ id: string }[]>`
    select id from generation
    where batch_id = ${batchId}::uuid and finished_at is null and cancel_requested_at is null
    order by state, batch_index`;
  return rows.map(({ id }) => id);
}
