/** Pictures as files under a folder; links lead to this server. */
import { mkdir, open, readdir, readFile, rename, rm, stat, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import { DomainError } from "../platform/errors.ts";
import { newId } from "../platform/ids.ts";
import type { Logger } from "../platform/logger.ts";
import { Seldom } from "../platform/seldom.ts";
import { type ImageStore, isKey, requireKey, type StoredStream } from "./image-store.ts";
import type { SignedLinks } from "./signed-links.ts";
import { FILES_PATH } from "./stored-files.ts";

/** Of the disk: pictures leave it to the embedded database beside them, and to what is being sent. */
const MIN_FREE_BYTES = 32 * 1024 * 1024;
/** What a disk says that is full, or over somebody's quota. */
const FULL = new Set(["ENOSPC", "EDQUOT"]);
/** What it says that fails, is mounted to be read only, or is not there. */
const BROKEN = new Set(["EIO", "EROFS", "ESTALE", "ENOTDIR", "EACCES", "EPERM", "EMFILE", "ENFILE"]);
const FULL_RETRY_AFTER_MS = 30_000;
const BROKEN_RETRY_AFTER_MS = 5000;

export interface DiskImageStoreOptions {
  readonly folder: string;
  readonly links: SignedLinks;
  readonly logger: Logger;
}

export class DiskImageStore implements ImageStore {
  private readonly complaints = new Seldom();

  constructor(private readonly options: DiskImageStoreOptions) {}

  async prepare(): Promise<void> {
    await mkdir(this.options.folder, { recursive: true });
  }

  async checkWritable(): Promise<void> {
    const { bavail, bsize } = await statfs(this.options.folder).catch((error) => this.fail(error));
    if (bavail * bsize < MIN_FREE_BYTES)
      this.fail(Object.assign(new Error("less than 32 MiB are free"), { code: "ENOSPC" }));
  }

  put(key: string, bytes: Uint8Array): Promise<void> {
    return this.putStream(key, [bytes]);
  }

  async putStream(key: string, source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<void> {
    const path = this.pathOf(key);
    const unfinished = `${path}.${newId()}`;
    await this.checkWritable();
    try {
      await mkdir(dirname(path), { recursive: true });
      await writeDurably(unfinished, source);
      await rename(unfinished, path);
      await syncFolder(dirname(path));
    } catch (error) {
      await rm(unfinished, { force: true }).catch(() => {});
      this.fail(error);
    }
  }

  get(key: string): Promise<Uint8Array | undefined> {
    return readFile(this.pathOf(key)).catch((error) => this.undefinedIfAbsent(error));
  }

  async getStream(key: string): Promise<StoredStream | undefined> {
    const file = await open(this.pathOf(key)).catch((error) => this.undefinedIfAbsent(error));
    if (file === undefined) return undefined;
    try {
      return { sizeBytes: (await file.stat()).size, content: file.createReadStream() };
    } catch (error) {
      await file.close().catch(() => {});
      this.fail(error);
    }
  }

  url(key: string, expiresInSeconds: number): string {
    return this.options.links.make(FILES_PATH + key, expiresInSeconds);
  }

  /** Only this server reads the folder. */
  async directUrl(): Promise<undefined> {}

  async *listFolders(before: Date): AsyncIterable<string> {
    for (const tenant of await this.entries("")) {
      for (const generation of await this.entries(tenant)) {
        for (const lease of await this.entries(generation)) {
          if ((await this.newestChange(lease)) < before) yield lease;
        }
      }
    }
  }

  async deleteFolder(folder: string): Promise<void> {
    await rm(this.pathOf(folder), { recursive: true, force: true });
  }

  private undefinedIfAbsent(error: unknown): undefined {
    return codeOf(error) === "ENOENT" ? undefined : this.fail(error);
  }

  /** What the disk is to blame for is told to the operator, now and then; the caller learns that later is better. */
  private fail(cause: unknown): never {
    const code = codeOf(cause);
    const isFull = FULL.has(code);
    if (!isFull && !BROKEN.has(code)) throw cause;
    const { logger, folder } = this.options;
    if (this.complaints.isDue(code)) {
      const phrase = isFull
        ? "the disk of the image store is full: make room there, nothing is lost"
        : "the image store failed";
      logger.error({ err: cause, folder }, phrase);
    }
    const message = isFull
      ? "The server has no room for files. Try again later: its operator has to make room."
      : "Stored files cannot be reached at the moment. Try again in a few seconds.";
    const retryAfterMs = isFull ? FULL_RETRY_AFTER_MS : BROKEN_RETRY_AFTER_MS;
    throw new DomainError("UNAVAILABLE", message, { retryable: true, retryAfterMs, cause });
  }

  private pathOf(key: string): string {
    return join(this.options.folder, requireKey(key));
  }

  private async entries(folder: string): Promise<string[]> {
    const found = await readdir(join(this.options.folder, folder)).catch(() => []);
    return found.map((name) => (folder === "" ? name : `${folder}/${name}`)).filter(isKey);
  }

  private async newestChange(folder: string): Promise<Date> {
    const paths = [folder, ...(await this.entries(folder))].map((name) => join(this.options.folder, name));
    const times = await Promise.all(
      paths.map((path) =>
        stat(path).then(
          ({ mtimeMs }) => mtimeMs,
          () => 0,
        ),
      ),
    );
    return new Date(Math.max(...times));
  }
}

const codeOf = (error: unknown): string => (error instanceof Error && "code" in error ? String(error.code) : "");

async function writeDurably(path: string, source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<void> {
  const file = await open(path, "wx", 0o600);
  try {
    for await (const bytes of source) await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Makes the names in a folder durable. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
