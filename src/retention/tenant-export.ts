/**
 * All that a tenant has as one archive: rows as lines of JSON, pictures as files. It is made while it is read, page by page,
 * so that it takes no memory or disk to speak of, and is not of one moment: what changes meanwhile may be in it or not.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { setImmediate } from "node:timers/promises";
import { appendAudit } from "../audit/audit.store.ts";
import { authorize } from "../auth/authorization.ts";
import { actorOf, type Principal } from "../auth/principal.ts";
import { asTenant } from "../platform/access.ts";
import type { Clock } from "../platform/clock.ts";
import type { Database, Tx } from "../platform/database.ts";
import { type IdType, toGlobalId } from "../platform/ids.ts";
import { readReason } from "../platform/text.ts";
import type { ImageStore } from "../storage/image-store.ts";
import { IMAGE_VARIANTS } from "../storage/image-variants.ts";
import { checkExpiry } from "../storage/link-expiry.ts";
import { refuse, type SignedLinks } from "../storage/signed-links.ts";
import { getTenant } from "../tenancy/tenancy.store.ts";
import { TAR_END, tarEntry } from "./tar.ts";
import { EXPORTED, listImages, listPictures, PAGE, type StoredPicture } from "./tenant-export.store.ts";

/** /tenants/<tenant>/export.tar */
const PATH = /^\/tenants\/([0-9a-f-]{36})\/export\.tar$/;

export interface TenantExportServices {
  readonly db: Database;
  readonly images: ImageStore;
  readonly links: SignedLinks;
  readonly clock: Clock;
}

export class TenantExport {
  constructor(private readonly services: TenantExportServices) {}

  /** A link to the archive that works for anyone until it expires; noted in the audit log. */
  async url(
    principal: Principal,
    { expiresInSeconds, reason: given }: { expiresInSeconds: number; reason: string },
  ): Promise<string> {
    authorize(principal, "tenant:export");
    checkExpiry(expiresInSeconds);
    const { tenantId } = principal;
    const reason = readReason(given);
    await this.services.db.transaction(asTenant(tenantId), (tx) => {
      const content = { actor: actorOf(principal), action: "tenant:export", target: { type: "Tenant", id: tenantId } };
      return appendAudit(tx, tenantId, { ...content, reason, before: null, after: { expiresInSeconds } });
    });
    return this.services.links.make(`/tenants/${tenantId}/export.tar`, expiresInSeconds);
  }

  /** Whether a request is for such a file. */
  isFor(request: IncomingMessage): boolean {
    return tenantOf(request) !== undefined;
  }

  /** Answers a request for a signed link. */
  async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (this.services.links.admit(request, response) === undefined) return;
    const tenantId = tenantOf(request);
    if (tenantId === undefined) return refuse(response, 404, "No such file.");
    const headers = {
      "content-type": "application/x-tar",
      "content-disposition": `attachment; filename="${toGlobalId("Tenant", tenantId)}.tar"`,
      "cache-control": "no-store",
    };
    await this.services.links.send(request, response, { headers, content: () => this.entries(tenantId) });
  }

  private async *entries(tenantId: string): AsyncGenerator<Buffer> {
    const now = this.services.clock.now();
    const { id: _, ...tenant } = await this.read(tenantId, (tx) => getTenant(tx, tenantId));
    yield tarEntry("tenant.json", toLines([{ tenantId, ...tenant }]), now);
    for (const [folder, page] of Object.entries(EXPORTED)) {
      let after: string | undefined;
      for (let number = 1; number === 1 || after !== undefined; number++) {
        const { rows, next } = await this.read(tenantId, (tx) => page(tx, tenantId, after));
        after = next;
        if (rows.length > 0) yield tarEntry(`${folder}/${String(number).padStart(6, "0")}.jsonl`, toLines(rows), now);
      }
    }
    yield* this.files(tenantId, listImages, (image) => {
      return `images/${toGlobalId("Generation", image.generationId)}/${image.index}.png`;
    });
    yield* this.files(tenantId, listPictures, ({ id }) => `uploads/${toGlobalId("Upload", id)}.png`);
    yield TAR_END;
  }

  /** What is deleted between row and bytes is left out. */
  private async *files<Row extends StoredPicture>(
    tenantId: string,
    list: (tx: Tx, tenantId: string, after: string | undefined) => Promise<readonly Row[]>,
    nameOf: (row: Row) => string,
  ): AsyncGenerator<Buffer> {
    for (let after: string | undefined; ; ) {
      const from = after;
      const rows = await this.read(tenantId, (tx) => list(tx, tenantId, from));
      for (const row of rows) {
        const bytes = await this.services.images.get(`${row.storageKey}/${IMAGE_VARIANTS.ORIGINAL}`);
        if (bytes !== undefined) yield tarEntry(nameOf(row), bytes, row.createdAt);
      }
      if (rows.length < PAGE) return;
      after = rows.at(-1)?.id;
    }
  }

  private async read<T>(tenantId: string, question: (tx: Tx) => Promise<T>): Promise<T> {
    const answer = await this.services.db.transaction(asTenant(tenantId), question);
    await setImmediate(); // queries of the embedded database leave no turn to others
    return answer;
  }
}

const tenantOf = ({ url = "" }: IncomingMessage): string | undefined => PATH.exec(url.split("?", 1)[0] ?? "")?.[1];

/** Which kind of thing a column names. */
const ID_TYPES: Readonly<Record<string, IdType>> = {
  tenantId: "Tenant",
  userId: "User",
  apiKeyId: "ApiKey",
  generationId: "Generation",
  batchId: "Batch",
  imageId: "Image",
  uploadId: "Upload",
};
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** JSONL. Ids that have a kind are those of the API; numbers of 64 bits are text. */
const toLines = (rows: readonly object[]): Buffer =>
  Buffer.from(rows.map((row) => `${JSON.stringify(row, toPublic)}\n`).join(""));

function toPublic(name: string, value: unknown): unknown {
  if (typeof value === "bigint") return String(value);
  const type = ID_TYPES[name];
  return type !== undefined && typeof value === "string" && UUID.test(value) ? toGlobalId(type, value) : value;
}
