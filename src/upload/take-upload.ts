/** Uploads as others start from them. */
import { may } from "../auth/authorization.ts";
import type { Principal } from "../auth/principal.ts";
import type { UploadPurpose } from "../generated/prisma/enums.ts";
import type { Tx } from "../platform/database.ts";
import { DomainError, invariant } from "../platform/errors.ts";
import { fromGlobalId, notFound } from "../platform/ids.ts";
import { findUpload, keepForever, type PictureFacts, type UploadRow } from "./upload.store.ts";

export interface UploadUse {
  /** Global id. */
  readonly id: string;
  readonly purpose: UploadPurpose;
  /** Path of the input that names it. */
  readonly path: readonly string[];
}

/** A finished upload. */
export interface TakenUpload {
  readonly id: string;
  /** Its folder in the image store. */
  readonly storageKey: string;
  /** Of a picture. */
  readonly picture: PictureFacts | undefined;
}

const GONE: Readonly<Record<UploadPurpose, string>> = {
  PICTURE: "has expired",
  BATCH: "has expired, or a batch was made of it",
};

/**
 * The finished upload that an input names. Another's is as absent as none. A picture no longer expires, because what starts
 * from it shows it; the items of a batch are in its own rows, so its file goes once the batch exists.
 */
export async function takeUpload(tx: Tx, principal: Principal, { id, purpose, path }: UploadUse): Promise<TakenUpload> {
  const row = await findUpload(tx, fromGlobalId("Upload", id, path));
  if (row === undefined || !may(principal, "upload:use", row)) throw notFound("Upload", id, path);
  if (row.purpose !== purpose) refuse(`This upload has the purpose ${row.purpose}; here, it must be ${purpose}.`, path);
  if (row.status === "WAITING") refuse("This upload is not finished. Call finishUpload first.", path);
  const expires = row.status === "READY" && row.expiresAt !== null && purpose === "PICTURE";
  if (row.status === "EXPIRED" || (expires && !(await keepForever(tx, row.id))))
    refuse(`This upload ${GONE[purpose]}. Send the file again, with createUpload.`, path);
  invariant(row.storageKey !== null, "a finished upload has a file");
  return { id: row.id, storageKey: row.storageKey, picture: pictureOf(row) };
}

function pictureOf({ width, height, brightest }: UploadRow): PictureFacts | undefined {
  return width === null || height === null || brightest === null ? undefined : { width, height, brightest };
}

function refuse(message: string, path: readonly string[]): never {
  throw new DomainError("INVALID_INPUT", message, { path });
}
