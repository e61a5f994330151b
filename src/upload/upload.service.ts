/** Creating and finishing uploads: rights, rules and transactions. */
import { authorize, may } from "../auth/authorization.ts";
import type { Principal } from "../auth/principal.ts";
import { asTenant } from "../platform/access.ts";
import type { Database, Tx } from "../platform/database.ts";
import { DomainError } from "../platform/errors.ts";
import { fromGlobalId, newId, notFound, toGlobalId } from "../platform/ids.ts";
import type { QuotaService } from "../quota/quota.service.ts";
import type { ImageStore } from "../storage/image-store.ts";
import type { SignedLinks } from "../storage/signed-links.ts";
import type { PictureNormaliser } from "./picture-normaliser.ts";
import { countOpen, type Finish, findUpload, insertUpload, markReady, type UploadRow } from "./upload.store.ts";
import type { CreateUploadInput, Upload, UploadTarget } from "./upload.type.ts";
import { discard, newFileFolder, pictureKey, sentKey } from "./upload-files.ts";
import { KEEP_SECONDS, MAX_BYTES, MAX_OPEN, WAIT_SECONDS } from "./upload-limits.ts";
import { uploadPath } from "./upload-receiver.ts";

const SHA256 = /^[0-9a-f]{64}$/i;

export interface UploadServices {
  readonly db: Database;
  readonly images: ImageStore;
  readonly links: SignedLinks;
  readonly normaliser: PictureNormaliser;
  readonly quota: QuotaService;
}

/** An upload with a file. */
interface SentUpload extends UploadRow {
  readonly storageKey: string;
}

export class UploadService {
  constructor(private readonly services: UploadServices) {}

  /** A place to send a file to. */
  async create(principal: Principal, { purpose, sizeBytes }: CreateUploadInput): Promise<UploadTarget> {
    const { db, links } = this.services;
    authorize(principal, "upload:use");
    const maxBytes = MAX_BYTES[purpose];
    if (sizeBytes !== undefined && !(sizeBytes >= 1 && sizeBytes <= maxBytes)) {
      throw new DomainError("INVALID_INPUT", `The file has ${sizeBytes} bytes; 1 to ${maxBytes} are taken.`, {
        path: ["input", "sizeBytes"],
      });
    }
    const { tenantId, userId, apiKeyId } = principal;
    const upload = { id: newId(), tenantId, userId, apiKeyId, purpose, waitSeconds: WAIT_SECONDS };
    const { expiresAt } = await db.transaction(asTenant(tenantId), async (tx) => {
      if ((await countOpen(tx, upload)) >= MAX_OPEN) throw tooMany();
      return insertUpload(tx, upload);
    });
    return {
      uploadId: toGlobalId("Upload", upload.id),
      method: "PUT",
      url: links.make(uploadPath(upload), WAIT_SECONDS),
      headers: [{ name: "content-type", value: "application/octet-stream" }],
      maxBytes,
      expiresAt,
    };
  }

  /** A finished picture is read as generations are: by whoever may see what was made of it. */
  async get(principal: Principal, globalId: string): Promise<Upload> {
    authorize(principal, "generation:read");
    const row = await this.services.db.transaction(asTenant(principal.tenantId), (tx) =>
      findUpload(tx, fromGlobalId("Upload", globalId, ["id"])),
    );
    if (row !== undefined && may(principal, "generation:read", row)) return toUpload(row);
    throw notFound("Upload", globalId, ["id"]);
  }

  /** A link to a finished picture, as it is kept, that works for anyone until it expires. */
  pictureUrl({ pictureKey: key }: Upload, expiresInSeconds: number): string | null {
    return key === undefined ? null : this.services.images.url(key, expiresInSeconds);
  }

  /** Makes an upload usable, if what was sent is what was meant. Finishing twice is no error. */
  async finish(principal: Principal, globalId: string, sha256: string): Promise<Upload> {
    const { db } = this.services;
    authorize(principal, "upload:use");
    if (!SHA256.test(sha256))
      throw new DomainError("INVALID_INPUT", "sha256 is not 64 hexadecimal digits.", { path: ["sha256"] });
    const id = fromGlobalId("Upload", globalId, ["id"]);
    const find = (tx: Tx) => findUsable(tx, principal, id);
    for (let looked: string | undefined; ; ) {
      const row = await db.transaction(asTenant(principal.tenantId), find);
      if (row === undefined) throw notFound("Upload", globalId, ["id"]);
      const sent = requireSent(row);
      requireSame(sent, sha256);
      if (sent.status === "READY") return toUpload(sent);
      if (sent.storageKey === looked) refuse("id", "The file that was sent is gone. Send it again.");
      looked = sent.storageKey;
      const finished = await (sent.purpose === "PICTURE" ? this.finishPicture(sent) : this.finishFile(sent));
      if (finished !== undefined) return toUpload(finished);
      // Another file was sent, or another call finished it meanwhile: what stands there now decides.
    }
  }

  /** Stores the picture as it is kept, in the place of the file that was sent. */
  private async finishPicture(sent: SentUpload): Promise<UploadRow | undefined> {
    const { images, normaliser } = this.services;
    const storageKey = newFileFolder(sent);
    const normalised = await normaliser.normalise(() => images.get(sentKey(sent.storageKey)));
    if (normalised === undefined) return undefined;
    const { png, ...picture } = normalised;
    await images.put(pictureKey(storageKey), png);
    let finished: UploadRow | undefined;
    try {
      finished = await this.markReady(sent, { storageKey, picture, storedBytes: png.length });
    } finally {
      await discard(images, finished === undefined ? storageKey : sent.storageKey);
    }
    return finished;
  }

  private finishFile(sent: SentUpload): Promise<UploadRow | undefined> {
    return this.markReady(sent, { storageKey: sent.storageKey, picture: undefined, storedBytes: sent.sizeBytes ?? 0 });
  }

  /** It counts as stored from now on, if there is room for it. */
  private markReady(
    sent: SentUpload,
    kept: Pick<Finish, "storageKey" | "picture" | "storedBytes">,
  ): Promise<UploadRow | undefined> {
    const { db, quota } = this.services;
    const finish = { id: sent.id, sentKey: sent.storageKey, keepSeconds: KEEP_SECONDS, ...kept };
    return db.transaction(asTenant(sent.tenantId), async (tx) => {
      const row = await markReady(tx, finish);
      if (row !== undefined) await quota.store(tx, row, kept.storedBytes);
      return row;
    });
  }
}

/** The stored row, if the principal may use it; another's is as absent as none. */
async function findUsable(tx: Tx, principal: Principal, id: string): Promise<UploadRow | undefined> {
  const row = await findUpload(tx, id);
  return row !== undefined && may(principal, "upload:use", row) ? row : undefined;
}

function requireSent({ storageKey, ...row }: UploadRow): SentUpload {
  if (row.status === "EXPIRED") refuse("id", "This upload has expired. Make another one with createUpload.");
  if (storageKey === null)
    return refuse("id", "No file was sent yet. Send it to the URL that createUpload gave first.");
  return { ...row, storageKey };
}

function requireSame({ status, sizeBytes, sha256: stored }: SentUpload, given: string): void {
  if (stored === given.toLowerCase()) return;
  const advice = status === "READY" ? "It is finished: make another one with createUpload." : "Send the file again.";
  refuse("sha256", `What was sent, ${sizeBytes} bytes, has the SHA-256 ${stored}, not ${given}. ${advice}`);
}

const tooMany = (): DomainError =>
  new DomainError(
    "QUOTA_EXHAUSTED",
    `You have ${MAX_OPEN} uploads that nothing was made of yet. Use some, or wait until they expire: an hour after ` +
      "createUpload, or a day after finishUpload.",
    { retryable: true },
  );

function refuse(argument: string, message: string): never {
  throw new DomainError("INVALID_INPUT", message, { path: [argument] });
}

export function toUpload({ id, purpose, status, storageKey, ...row }: UploadRow): Upload {
  const isPicture = purpose === "PICTURE" && status === "READY" && storageKey !== null;
  return {
    id: toGlobalId("Upload", id),
    purpose,
    status,
    sizeBytes: row.sizeBytes,
    sha256: row.sha256,
    width: row.width,
    height: row.height,
    createdAt: row.createdAt,
    expiresAt: row.expiresAt,
    pictureKey: isPicture ? pictureKey(storageKey) : undefined,
  };
}
