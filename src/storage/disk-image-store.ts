/** Pictures as files under a folder; links lead to this server. */
import { createReadStream } from "node:fs";
import { mkdir, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { dirname, extname, join } from "node:path";
import { invariant } from "../platform/errors.ts";
import { newId } from "../platform/ids.ts";
import { type ImageStore, isKey } from "./image-store.ts";
import { refuse, type SignedLinks } from "./signed-links.ts";

export const FILES_PATH = "/files/";
const MEDIA_TYPES: Readonly<Record<string, string>> = { ".png": "image/png", ".webp": "image/webp" };

export interface DiskImageStoreOptions {
  readonly folder: string;
  readonly links: SignedLinks;
}

export class DiskImageStore implements ImageStore {
  constructor(private readonly options: DiskImageStoreOptions) {}

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

  async getStream(key: string): Promise<AsyncIterable<Uint8Array> | undefined> {
    const file = await open(this.pathOf(key)).catch(undefinedIfAbsent);
    return file?.createReadStream();
  }

  url(key: string, expiresInSeconds: number): string {
    return this.options.links.make(FILES_PATH + key, expiresInSeconds);
  }

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

  /** Answers a request for a signed link. */
  async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const maxAge = this.options.links.admit(request, response); // as long as the link
    if (maxAge === undefined) return;
    const { pathname } = new URL(request.url ?? "", "http://localhost");
    const key = pathname.slice(FILES_PATH.length);
    const path = this.pathOf(key);
    const size = await stat(path).then(
      (found) => found.size,
      () => undefined,
    );
    if (size === undefined) return refuse(response, 404, "This picture was deleted.");
    const headers = {
      "content-type": MEDIA_TYPES[extname(key)] ?? "application/octet-stream",
      "content-length": size,
      "cache-control": `private, max-age=${maxAge}, immutable`,
    };
    await this.options.links.send(request, response, { headers, content: () => createReadStream(path) });
  }

  private pathOf(key: string): string {
    invariant(isKey(key), `"${key}" is not a storage key`);
    return join(this.options.folder, key);
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
