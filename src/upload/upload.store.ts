import { Prisma } from "../generated/prisma/client.ts";
import type { UploadPurpose, UploadStatus } from "../generated/prisma/enums.ts";
import type { Tx } from "../platform/database.ts";
import { invariant } from "../platform/errors.ts";

export interface UploadRow {
  readonly id: string;
  readonly tenantId: string;
  /** The member who brings it. */
  readonly userId: string;
  readonly apiKeyId: string | null;
  readonly purpose: UploadPurpose;
  /** EXPIRED from the moment on, whether its bytes are deleted yet or not. */
  readonly status: UploadStatus;
  /** Folder in the image store; null before a file was sent. */
  readonly storageKey: string | null;
  /** Of the file as it was sent. */
  readonly sizeBytes: number | null;
  readonly sha256: string | null;
  /** Of a finished picture. */
  readonly width: number | null;
  readonly height: number | null;
  readonly brightest: number | null;
  readonly createdAt: Date;
  /** Null once a generation shows it. */
  readonly expiresAt: Date | null;
}

const COLUMNS = Prisma.sql`id, tenant_id as "tenantId", user_id as "userId", api_key_id as "apiKeyId", purpose,
  case when expires_at <= now() then 'EXPIRED'::upload_status else status end as status,
  storage_key as "storageKey", size_bytes as "sizeBytes", sha256, width, height, brightest,
  created_at as "createdAt", expires_at as "expiresAt"`;

export interface NewUpload {
  readonly id: string;
  readonly tenantId: string;
  readonly userId: string;
  readonly apiKeyId: string | null;
  readonly purpose: UploadPurpose;
  /** How long a file may be sent. */
  readonly waitSeconds: number;
}

/** @returns when it expires */
export async function insertUpload(
  tx: Tx,
  { id, tenantId, userId, apiKeyId, purpose, waitSeconds }: NewUpload,
): Promise<{ readonly expiresAt: Date }> {
  const [row] = await tx.$queryRaw<{ expiresAt: Date }[]>`
    insert into upload (id, tenant_id, user_id, api_key_id, purpose, expires_at)
    values (${id}::uuid, ${tenantId}::uuid, ${userId}::uuid, ${apiKeyId}::uuid, ${purpose}::upload_purpose, now() + make_interval(secs => ${waitSeconds}))
    returning expires_at as "expiresAt"`;
  invariant(row !== undefined, "an insert returns its row");
  return row;
}

/** Uploads of a member that are to expire. */
export async function countOpen(
  tx: Tx,
  { tenantId, userId }: { readonly tenantId: string; readonly userId: string },
): Promise<number> {
  const [row] = await tx.$queryRaw<{ count: number }[]>`
    select count(*)::int as count from upload
    where tenant_id = ${tenantId}::uuid and user_id = ${userId}::uuid and expires_at > now()`;
  return row?.count ?? 0;
}

export async function findUpload(tx: Tx, id: string): Promise<UploadRow | undefined> {
  const [row] = await tx.$queryRaw<UploadRow[]>`select ${COLUMNS} from upload where id = ${id}::uuid`;
  return row;
}

export async function isTenantSuspended(tx: Tx, id: string): Promise<boolean> {
  return (await tx.tenant.count({ where: { id, suspendedAt: { not: null } } })) > 0;
}

export async function readUploads(tx: Tx, ids: readonly string[]): Promise<ReadonlyMap<string, UploadRow>> {
  const rows = await tx.$queryRaw<UploadRow[]>`select ${COLUMNS} from upload where id = any(${[...ids]}::uuid[])`;
  return new Map(rows.map((row) => [row.id, row]));
}

export interface SentFile {
  readonly storageKey: string;
  readonly sizeBytes: number;
  readonly sha256: string;
}

/**
 * Makes a file that was sent the one that counts, while the upload waits for one.
 *
 * @returns the folder of the file that counted before, if any; undefined when it does not wait
 */
export async function replaceFile(
  tx: Tx,
  id: string,
  { storageKey, sizeBytes, sha256 }: SentFile,
): Promise<{ readonly earlierKey: string | null } | undefined> {
  const [row] = await tx.$queryRaw<{ earlierKey: string | null }[]>`
    update upload set storage_key = ${storageKey}, size_bytes = ${sizeBytes}, sha256 = ${sha256}
    from (select id, storage_key from upload where id = ${id}::uuid for update) earlier
    where upload.id = earlier.id and status = 'WAITING' and expires_at > now()
    returning earlier.storage_key as "earlierKey"`;
  return row;
}

/** A picture as it is kept. */
export interface PictureFacts {
  readonly width: number;
  readonly height: number;
  readonly brightest: number;
}

export interface Finish {
  readonly id: string;
  /** Folder of the file that was looked at. */
  readonly sentKey: string;
  /** Folder of what is kept. */
  readonly storageKey: string;
  readonly picture: PictureFacts | undefined;
  /** Of what is kept. */
  readonly storedBytes: number;
  readonly keepSeconds: number;
}

/** WAITING -> READY, if the file that counts is still the one that was looked at. */
export async function markReady(
  tx: Tx,
  { id, sentKey, storageKey, picture, storedBytes, keepSeconds }: Finish,
): Promise<UploadRow | undefined> {
  const [row] = await tx.$queryRaw<UploadRow[]>`
    update upload set status = 'READY', storage_key = ${storageKey}, width = ${picture?.width ?? null}::int,
      height = ${picture?.height ?? null}::int, brightest = ${picture?.brightest ?? null}::int, stored_bytes = ${storedBytes}::int,
      expires_at = now() + make_interval(secs => ${keepSeconds})
    where id = ${id}::uuid and status = 'WAITING' and storage_key = ${sentKey} and expires_at > now()
    returning ${COLUMNS}`;
  return row;
}

/** A generation shows it from now on: it no longer expires. @returns whether it was ready */
export async function keepForever(tx: Tx, id: string): Promise<boolean> {
  const changed = await tx.$executeRaw`
    update upload set expires_at = null
    where id = ${id}::uuid and status = 'READY' and (expires_at is null or expires_at > now())`;
  return changed === 1;
}

/** All of it was read: its bytes are needed no more. */
export async function spendUpload(tx: Tx, id: string): Promise<void> {
  await tx.$executeRaw`update upload set expires_at = now() where id = ${id}::uuid and status = 'READY'`;
}

/** Of an upload, as its folders in the image store begin: <tenant>/<upload> */
export interface UploadPlace {
  readonly id: string;
  readonly tenantId: string;
}

/** An upload whose bytes are to be deleted. */
export interface ExpiredUpload extends UploadPlace {
  readonly userId: string;
  readonly apiKeyId: string | null;
  /** What it counted as stored. */
  readonly bytes: number;
}

/** Ends uploads of some tenant whose time has run out. */
export async function expireUploads(tx: Tx, limit: number): Promise<readonly ExpiredUpload[]> {
  return tx.$queryRaw<ExpiredUpload[]>`
    with expired as (
      select id, stored_bytes from upload
      where expires_at <= now() and status <> 'EXPIRED'
        and tenant_id = (select tenant_id from upload where expires_at <= now() and status <> 'EXPIRED' limit 1)
      limit ${limit} for update skip locked
    )
    update upload set status = 'EXPIRED', storage_key = null, stored_bytes = 0 from expired where upload.id = expired.id
    returning upload.id, tenant_id as "tenantId", user_id as "userId", api_key_id as "apiKeyId", expired.stored_bytes as bytes`;
}

/** Forgets uploads that expired long ago. */
export async function deleteExpired(tx: Tx, keepHours: number): Promise<number> {
  return tx.$executeRaw`
    delete from upload where status = 'EXPIRED' and expires_at < now() - make_interval(hours => ${keepHours}::int)`;
}

/** Folders in the image store that uploads with these ids still have. */
export async function listUploadFolders(tx: Tx, ids: readonly string[]): Promise<ReadonlySet<string>> {
  const rows = await tx.upload.findMany({ where: { id: { in: [...ids] } }, select: { storageKey: true } });
  return new Set(rows.flatMap(({ storageKey }) => storageKey ?? []));
}
