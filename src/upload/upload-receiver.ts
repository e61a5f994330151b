/** Takes the files that are sent to signed upload links. A file counts once all of it is stored, or not at all. */
import { createHash } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { UploadPurpose } from "../generated/prisma/enums.ts";
import { asTenant } from "../platform/access.ts";
import type { Database } from "../platform/database.ts";
import { DomainError } from "../platform/errors.ts";
import { newId } from "../platform/ids.ts";
import type { Logger } from "../platform/logger.ts";
import type { ImageStore } from "../storage/image-store.ts";
import { refuse, type SignedLinks } from "../storage/signed-links.ts";
import {
  findUpload,
  isTenantSuspended,
  replaceFile,
  type SentFile,
  type UploadPlace,
  type UploadRow,
} from "./upload.store.ts";
import { discard, newFileFolder, sentKey } from "./upload-files.ts";
import { MAX_BYTES } from "./upload-limits.ts";

const PATH = /^\/uploads\/([0-9a-f-]{36})\/([0-9a-f-]{36})$/;
/** For pages of other origins, which ask before they send. */
const PREFLIGHT = {
  "access-control-allow-origin": "*",
  "access-control-allow-methods": "PUT",
  "access-control-allow-headers": "content-type",
  "access-control-max-age": "86400",
};

export const uploadPath = ({ tenantId, id }: UploadPlace): string => `/uploads/${tenantId}/${id}`;

export interface UploadReceiverServices {
  readonly db: Database;
  readonly images: ImageStore;
  readonly links: SignedLinks;
  readonly logger: Logger;
}

export class UploadReceiver {
  constructor(private readonly services: UploadReceiverServices) {}

  /** Whether a request is for an upload. */
  isFor(request: IncomingMessage): boolean {
    return placeOf(request) !== undefined;
  }

  /** Answers a request to a signed link: 204 when the file is stored. */
  async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.method === "OPTIONS") return void response.writeHead(204, PREFLIGHT).end();
    const { links, db, images, logger } = this.services;
    const place = placeOf(request);
    if (links.admit(request, response, ["PUT"]) === undefined || place === undefined) return;
    const { row, isSuspended } = await db.transaction(asTenant(place.tenantId), async (tx) => ({
      row: await findUpload(tx, place.id),
      isSuspended: await isTenantSuspended(tx, place.tenantId),
    }));
    if (isSuspended)
      return refuse(response, 403, "Its tenant is suspended, and takes no files. Ask the operator of this server.");
    if (row?.status !== "WAITING") return refuseLate(response, row);
    if (!isSizeTaken(request, response, row.purpose)) return;
    const folder = newFileFolder(place);
    try {
      const file = await this.store(request, folder);
      const replaced = await db.transaction(asTenant(place.tenantId), (tx) => replaceFile(tx, place.id, file));
      const superseded = replaced === undefined ? folder : replaced.earlierKey;
      if (superseded !== null) await discard(images, superseded);
      if (replaced !== undefined) return void response.writeHead(204, { "access-control-allow-origin": "*" }).end();
      refuseLate(response, await db.transaction(asTenant(place.tenantId), (tx) => findUpload(tx, place.id)));
    } catch (error) {
      await discard(images, folder);
      if (request.socket.destroyed) return; // who sent it hung up
      const late = await db.transaction(asTenant(place.tenantId), (tx) => findUpload(tx, place.id));
      if (late?.status !== "WAITING") return refuseLate(response, late); // its folder was deleted meanwhile
      if (error instanceof DomainError && error.code === "UNAVAILABLE") return refuse(response, 503, error.message);
      const errorId = newId();
      logger.error({ errorId, err: error, uploadId: place.id }, "upload could not be stored");
      refuse(response, 500, `The file could not be stored. Quote ${errorId} when you report it.`);
    }
  }

  private async store(request: IncomingMessage, storageKey: string): Promise<SentFile> {
    const hash = createHash("sha256");
    let sizeBytes = 0;
    async function* measured(): AsyncGenerator<Uint8Array> {
      // Left open when storing fails, or there would be no connection to say so on.
      for await (const bytes of request.iterator({ destroyOnReturn: false })) {
        hash.update(bytes);
        sizeBytes += bytes.length;
        yield bytes;
      }
    }
    await this.services.images.putStream(sentKey(storageKey), measured());
    return { storageKey, sizeBytes, sha256: hash.digest("hex") };
  }
}

function placeOf({ url = "" }: IncomingMessage): UploadPlace | undefined {
  const [, tenantId, id] = PATH.exec(url.split("?", 1)[0] ?? "") ?? [];
  return tenantId === undefined || id === undefined ? undefined : { tenantId, id };
}

/** As much as the length says is read, never more: bytes beyond it are not of this request. */
function isSizeTaken({ headers }: IncomingMessage, response: ServerResponse, purpose: UploadPurpose): boolean {
  const length = headers["content-length"];
  const max = MAX_BYTES[purpose];
  if (length === undefined) refuse(response, 411, "Say how long the file is, with a Content-Length header.");
  else if (Number(length) === 0) refuse(response, 400, "The file is empty. Send its bytes as the body of the request.");
  else if (Number(length) > max) refuse(response, 413, `The file has ${length} bytes; up to ${max} are taken.`);
  else return true;
  return false;
}

function refuseLate(response: ServerResponse, row: UploadRow | undefined): void {
  if (row?.status === "READY")
    refuse(response, 409, "This upload is finished, and no longer changes. Make another one with createUpload.");
  else refuse(response, 410, "This upload has expired. Make another one with createUpload.");
}
