/**
 * Creating, reading and cancelling batches. A batch of 50,000 items is written in short transactions as a draft that nobody
 * sees; one more reserves all its credits and accepts it, or the draft goes away.
 */

import { setImmediate } from "node:timers/promises";
import type { GraphQLInputType } from "graphql";
import { authorize, may } from "../auth/authorization.ts";
import type { Principal } from "../auth/principal.ts";
import { asTenant } from "../platform/access.ts";
import type { Database, Tx } from "../platform/database.ts";
import { DomainError, invariant } from "../platform/errors.ts";
import { fromGlobalId, fromIndexCursor, newId, notFound, toGlobalId, toIndexCursor } from "../platform/ids.ts";
import { pageOf, pageSize } from "../platform/page.ts";
import type { ReadSession } from "../platform/read-session.ts";
import type { QuotaService } from "../quota/quota.service.ts";
import { formatCredits } from "../quota/tariff.ts";
import type { ImageStore } from "../storage/image-store.ts";
import { takeUpload } from "../upload/take-upload.ts";
import { spendUpload } from "../upload/upload.store.ts";
import { openBatchFile } from "../upload/upload-files.ts";
import { choosePreset } from "./admission.ts";
import type { BatchItemInput, CreateBatchInput } from "./batch.input.ts";
import { toBatch, toBatchItem } from "./batch.mapper.ts";
import {
  acceptDraft,
  type BatchRow,
  cancelWaiting,
  deleteDraft,
  findBatch,
  getBatch,
  insertDraft,
  insertItems,
  listBatches,
  type NewBatch,
  type NewItem,
  readProgress,
  readSums,
} from "./batch.store.ts";
import type { Batch, BatchConnection, BatchCounts, BatchCredits, BatchItemConnection } from "./batch.type.ts";
import { readBatchFile } from "./batch-file.ts";
import { listItems } from "./batch-item.store.ts";
import { type Candidate, type PlacedItem, resolveItems } from "./batch-items.ts";
import type { BatchQueue } from "./batch-queue.ts";
import { type HistoryRequest, historyPage } from "./history.ts";
import { findUse, type IdempotencyUse, recordUse } from "./idempotency.store.ts";
import { createdBy, keyUse } from "./idempotency.ts";
import type { OfferedPreset, PresetCatalog } from "./preset-catalog.ts";

const MAX_INLINE_ITEMS = 1000;
/** Written in one transaction: about ten milliseconds of the embedded database. */
const ITEMS_A_WRITE = 500;

export interface BatchServices {
  readonly db: Database;
  readonly quota: QuotaService;
  readonly presets: PresetCatalog;
  readonly images: ImageStore;
  readonly batchQueue: BatchQueue;
}

/** Items as they were sent, and the upload that they were sent with. */
interface BatchSource {
  readonly candidates: Iterable<Candidate> | AsyncIterable<Candidate>;
  readonly uploadId: string | undefined;
}

export class BatchService {
  constructor(private readonly services: BatchServices) {}

  /**
   * Accepts a batch with the credits of all its items reserved, or nothing. The same key and input give the same batch.
   *
   * @param itemType of the schema, for items in a file
   */
  async create(
    principal: Principal,
    input: CreateBatchInput,
    itemType: GraphQLInputType,
  ): Promise<{ batch: Batch; replayed: boolean }> {
    const { db } = this.services;
    authorize(principal, "generation:create");
    const use = keyUse(principal, input, { field: "createBatch", createdId: newId() });
    const known = await db.transaction(asTenant(principal.tenantId), async (tx) => {
      const earlier = await findUse(tx, use);
      return earlier && getBatch(tx, createdBy(earlier, use));
    });
    if (known !== undefined) return { batch: toBatch(known), replayed: true };
    const preset = choosePreset(
      await db.transaction(asTenant(principal.tenantId), (tx) => this.services.presets.list(tx)),
      input.preset,
      principal.allowedPresets,
    );
    const source = await this.open(principal, input, itemType);
    const { settings, items, credits } = await resolveItems(source.candidates, { defaults: input.defaults, preset });
    const { tenantId, userId, apiKeyId } = principal;
    const owner = { id: use.createdId, tenantId, userId, apiKeyId, ...poolOf(preset) };
    const batch = { ...owner, settings, total: items.length, credits, uploadId: source.uploadId };
    const accepted = await this.write(batch, items, use);
    if (accepted.id === use.createdId) db.doorbell.ring();
    return { batch: toBatch(accepted), replayed: accepted.id !== use.createdId };
  }

  async get(principal: Principal, globalId: string): Promise<Batch> {
    return toBatch(
      await this.services.db.transaction(asTenant(principal.tenantId), (tx) => getReadable(tx, principal, globalId)),
    );
  }

  async list(principal: Principal, page: HistoryRequest): Promise<BatchConnection> {
    const request = historyPage(principal, page);
    const rows = await this.services.db.transaction(asTenant(principal.tenantId), (tx) => listBatches(tx, request));
    return pageOf(rows, request, toBatch);
  }

  /** Items of a batch that the caller was shown, and so may read. */
  async listItems(
    principal: Principal,
    batchId: string,
    page: { first: number; after?: string | undefined },
  ): Promise<BatchItemConnection> {
    const size = pageSize(page.first, undefined);
    const from = page.after === undefined ? 0 : fromIndexCursor(page.after, "after") + 1;
    const { batch, rows } = await this.services.db.transaction(asTenant(principal.tenantId), async (tx) => ({
      batch: await getBatch(tx, batchId),
      rows: await listItems(tx, batchId, { from, limit: size }),
    }));
    const edges = rows.map((row) => ({ cursor: toIndexCursor(row.index), node: toBatchItem(row, batch) }));
    return {
      edges,
      nodes: edges.map(({ node }) => node),
      pageInfo: {
        hasNextPage: from + rows.length < batch.total,
        hasPreviousPage: from > 0,
        startCursor: edges[0]?.cursor ?? null,
        endCursor: edges.at(-1)?.cursor ?? null,
      },
    };
  }

  /** Of a batch that the caller was shown. */
  async count(reads: ReadSession, batchId: string): Promise<BatchCounts> {
    const progress = await reads.load(readProgress, batchId);
    if (progress === undefined) throw notFound("Batch", toGlobalId("Batch", batchId), []);
    const { queued, running, batch } = progress;
    const { total, nextIndex, cancelRequestedAt, succeeded, failed, canceled } = batch;
    const waiting = cancelRequestedAt === null ? total - nextIndex : 0;
    return { waiting, queued, running, succeeded, failed, canceled };
  }

  /** Of a batch that the caller was shown. */
  async sumCredits(reads: ReadSession, batchId: string): Promise<BatchCredits> {
    const sums = await reads.load(readSums, batchId);
    if (sums === undefined) throw notFound("Batch", toGlobalId("Batch", batchId), []);
    const { reserved, charged, held } = sums;
    return { reserved: formatCredits(reserved), charged: formatCredits(charged), held: formatCredits(held) };
  }

  /** Releases what waits, ends what is queued, asks what runs to stop. Cancelling twice is no error. */
  async cancel(principal: Principal, globalId: string): Promise<Batch> {
    const { db, quota, batchQueue } = this.services;
    const { id, tenantId } = await db.transaction(asTenant(principal.tenantId), async (tx) => {
      const row = await getReadable(tx, principal, globalId);
      authorize(principal, "generation:cancel", row, ["id"]);
      if (await cancelWaiting(tx, row.id)) await quota.releaseWaiting(tx, row.id, "batch canceled");
      else if (row.cancelRequestedAt === null)
        throw new DomainError("NOT_CANCELLABLE", "The batch has ended already.", { path: ["id"] });
      return row;
    });
    await batchQueue.cancelOpen({ id, tenantId });
    return toBatch(await db.transaction(asTenant(principal.tenantId), (tx) => getBatch(tx, id)));
  }

  /** Of the input, or of the file that it names. */
  private async open(
    principal: Principal,
    { items, sourceUploadId }: CreateBatchInput,
    itemType: GraphQLInputType,
  ): Promise<BatchSource> {
    if ((items === undefined) === (sourceUploadId === undefined))
      throw new DomainError("INVALID_INPUT", "Give either items or sourceUploadId.", { path: ["input"] });
    if (sourceUploadId === undefined) return { candidates: placedItems(items ?? []), uploadId: undefined };
    const path = ["input", "sourceUploadId"];
    const use = { id: sourceUploadId, purpose: "BATCH", path } as const;
    const upload = await this.services.db.transaction(asTenant(principal.tenantId), (tx) =>
      takeUpload(tx, principal, use),
    );
    const file = await openBatchFile(this.services.images, upload);
    if (file === undefined) throw notFound("Upload", sourceUploadId, path); // it expired meanwhile
    return { candidates: readBatchFile(file, itemType, path), uploadId: upload.id };
  }

  /** Writes the draft and accepts it, or takes it away again. @returns the batch of the idempotency key */
  private async write(
    { uploadId, ...batch }: NewBatch & Pick<BatchSource, "uploadId">,
    items: readonly NewItem[],
    use: IdempotencyUse,
  ): Promise<BatchRow> {
    const { db } = this.services;
    try {
      await db.transaction(asTenant(batch.tenantId), (tx) => insertDraft(tx, batch));
      for (let start = 0; start < items.length; start += ITEMS_A_WRITE) {
        await db.transaction(asTenant(batch.tenantId), (tx) =>
          insertItems(tx, batch, items.slice(start, start + ITEMS_A_WRITE)),
        );
        await setImmediate(); // queries of the embedded database leave no turn to others
      }
      const accepted = await db.transaction(asTenant(batch.tenantId), (tx) =>
        this.accept(tx, { ...batch, uploadId }, use),
      );
      if (accepted.id !== batch.id) await db.transaction(asTenant(batch.tenantId), (tx) => deleteDraft(tx, batch.id)); // a twin was faster
      return accepted;
    } catch (error) {
      await db.transaction(asTenant(batch.tenantId), (tx) => deleteDraft(tx, batch.id));
      throw error;
    }
  }

  private async accept(
    tx: Tx,
    { id, credits, uploadId, ...payer }: NewBatch & Pick<BatchSource, "uploadId">,
    use: IdempotencyUse,
  ): Promise<BatchRow> {
    const earlier = await recordUse(tx, use);
    if (earlier !== undefined) return getBatch(tx, createdBy(earlier, use));
    if (uploadId !== undefined) await spendUpload(tx, uploadId);
    const row = await acceptDraft(tx, id);
    invariant(row !== undefined, `the draft of batch ${id} is gone`);
    await this.services.quota.reserveForBatch(tx, payer, id, { credits, pixels: 1n });
    return row;
  }
}

/** The stored row, if the principal may read it; another's is as absent as none. */
async function getReadable(tx: Tx, principal: Principal, globalId: string): Promise<BatchRow> {
  authorize(principal, "generation:read");
  const row = await findBatch(tx, fromGlobalId("Batch", globalId, ["id"]));
  if (row !== undefined && may(principal, "generation:read", row)) return row;
  throw notFound("Batch", globalId, ["id"]);
}

const poolOf = ({ name: preset, pool }: OfferedPreset) => ({ preset, pool });

function placedItems(items: readonly BatchItemInput[]): readonly PlacedItem[] {
  const path = ["input", "items"];
  if (items.length < 1 || items.length > MAX_INLINE_ITEMS) {
    const message = `A batch has 1 to ${MAX_INLINE_ITEMS} items here; these are ${items.length}. Upload a file of more.`;
    throw new DomainError("INVALID_INPUT", message, { path });
  }
  return items.map((wish, index) => ({ index, wish, place: `Item ${index}`, path: [...path, String(index)] }));
}
