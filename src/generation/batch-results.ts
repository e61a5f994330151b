/**
 * The results of a batch as a file: one line of JSON for each item, in order, as it stands when the file is read. Nothing of
 * it is stored, so that it can be read while the batch runs, and its links to pictures are new each time.
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import { setImmediate } from "node:timers/promises";
import { asTenant } from "../platform/access.ts";
import type { Database } from "../platform/database.ts";
import { toGlobalId } from "../platform/ids.ts";
import type { ImageStore } from "../storage/image-store.ts";
import { IMAGE_VARIANTS } from "../storage/image-variants.ts";
import { checkExpiry, MAX_EXPIRES_IN_SECONDS } from "../storage/link-expiry.ts";
import { refuse, type SignedLinks } from "../storage/signed-links.ts";
import { toBatchItem } from "./batch.mapper.ts";
import { type BatchRow, findBatch } from "./batch.store.ts";
import { type BatchKey, type ItemDetails, listItems } from "./batch-item.store.ts";

/** /batches/<tenant>/<batch>/results.jsonl */
const PATH = /^\/batches\/([0-9a-f-]{36})\/([0-9a-f-]{36})\/results\.jsonl$/;
/** Items that are read in one transaction: a few milliseconds of the embedded database. */
const PAGE = 100;

export interface BatchResultsServices {
  readonly db: Database;
  readonly images: ImageStore;
  readonly links: SignedLinks;
}

export class BatchResults {
  constructor(private readonly services: BatchResultsServices) {}

  /** A link that works for anyone until it expires. */
  url({ id, tenantId }: BatchKey, expiresInSeconds: number): string {
    checkExpiry(expiresInSeconds);
    return this.services.links.make(`/batches/${tenantId}/${id}/results.jsonl`, expiresInSeconds);
  }

  /** Whether a request is for such a file. */
  isFor(request: IncomingMessage): boolean {
    return batchOf(request) !== undefined;
  }

  /** Answers a request for a signed link. */
  async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (this.services.links.admit(request, response) === undefined) return;
    const key = batchOf(request);
    const batch = key && (await this.services.db.transaction(asTenant(key.tenantId), (tx) => findBatch(tx, key.id)));
    if (!batch) return refuse(response, 404, "This batch was deleted.");
    await this.services.links.send(request, response, {
      headers: { "content-type": "application/jsonl; charset=utf-8", "cache-control": "no-store" },
      content: () => this.lines(batch),
    });
  }

  private async *lines(batch: BatchRow): AsyncGenerator<string> {
    for (let from = 0; from < batch.total; from += PAGE) {
      const items = await this.services.db.transaction(asTenant(batch.tenantId), (tx) =>
        listItems(tx, batch.id, { from, limit: PAGE }),
      );
      await setImmediate(); // queries of the embedded database leave no turn to others
      yield items.map((item) => `${JSON.stringify(this.result(item, batch))}\n`).join("");
    }
  }

  private result(row: ItemDetails, batch: BatchRow): object {
    const { index, customId, status, textToImage, error, generation } = toBatchItem(row, batch);
    return {
      index,
      customId,
      status,
      prompt: textToImage.prompt,
      seed: textToImage.seed,
      generationId: generation?.id ?? null,
      creditsCharged: generation?.creditsCharged ?? null,
      error,
      images: (row.generation?.images ?? []).map(({ id, storageKey, width, height, sha256 }) => ({
        id: toGlobalId("Image", id),
        url: this.services.images.url(`${storageKey}/${IMAGE_VARIANTS.ORIGINAL}`, MAX_EXPIRES_IN_SECONDS),
        width,
        height,
        sha256,
      })),
    };
  }
}

function batchOf({ url = "" }: IncomingMessage): BatchKey | undefined {
  const [, tenantId, id] = PATH.exec(url.split("?", 1)[0] ?? "") ?? [];
  return tenantId === undefined || id === undefined ? undefined : { id, tenantId };
}
