/** Pictures as files under a folder; links lead to this server. */
import { mkdir, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { newId } from "../platform/ids.ts";
import { type ImageStore, isKey, requireKey, type StoredStream } from "./image-store.ts";
import type { SignedLinks } from "./signed-links.ts";
import { FILES_PATH } from "./stored-files.ts";

export interface DiskImageStoreOptions {
  readonly folder: string;
  readonly links: SignedLinks;
}

export class DiskImageStore implements ImageStore {
  constructor(private readonly options: DiskImageStoreOptions) {}

  async prepare(): Promise<void> {
    await mkdir(this.options.folder, { recursive: true });
  }

  put(key: string, bytes: Uint8Array): Promise<void> {
    return this.putStream(key, [bytes]);
  }

  async putStream(key: string, source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<void> {
    const path = this.pathOf(key);
    const unfinished = `${path}.${newId()}`;
    await mkdir(dirname(path), { recursive: true });
    try {
      await writeDurably(unfinished, source);
      await rename(unfinished, path);
    } catch (error) {
      await rm(unfinished, { force: true });
      throw error;
    }
    await syncFolder(dirname(path));
  }

  get(key: string): Promise<Uint8Array | undefined> {
    return readFile(this.pathOf(key)).catch(undefinedIfAbsent);
  }

  async getStream(key: string): Promise<StoredStream | undefined> {
    const file = await open(this.pathOf(key)).catch(undefinedIfAbsent);
    return file && { sizeBytes: (await file.stat()).size, content: file.createReadStream() };
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

function undefinedIfAbsent(error: unknown): undefined {
  if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
  throw error;
}

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
