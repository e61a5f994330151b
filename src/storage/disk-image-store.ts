/** Pictures as files under a folder; links lead to this server. */
import { createReadStream } from "node:fs";
import { mkdir, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { dirname, extname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import type { Clock } from "../platform/clock.ts";
import { invariant } from "../platform/errors.ts";
import { newId } from "../platform/ids.ts";
import { type ImageStore, isKey } from "./image-store.ts";
import type { UrlSigner } from "./url-signer.ts";

export const FILES_PATH = "/files/";
const MEDIA_TYPES: Readonly<Record<string, string>> = { ".png": "image/png", ".webp": "image/webp" };

export interface DiskImageStoreOptions {
  readonly folder: string;
  readonly signer: UrlSigner;
  readonly clock: Clock;
  /** Address of this server as clients see it, without a trailing slash. */
  readonly publicUrl: () => string;
}

export class DiskImageStore implements ImageStore {
  constructor(private readonly options: DiskImageStoreOptions) {}

  async put(key: string, bytes: Uint8Array): Promise<void> {
    const path = this.pathOf(key);
    const unfinished = `${path}.${newId()}`;
    await mkdir(dirname(path), { recursive: true });
    try {
      await writeDurably(unfinished, bytes);
      await rename(unfinished, path);
    } catch (error) {
      await rm(unfinished, { force: true });
      throw error;
    }
    await syncFolder(dirname(path));
  }

  async get(key: string): Promise<Uint8Array | undefined> {
    try {
      return await readFile(this.pathOf(key));
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
      throw error;
    }
  }

  url(key: string, expiresInSeconds: number): string {
    const { signer, clock, publicUrl } = this.options;
    const path = FILES_PATH + key;
    const expiresAt = new Date(clock.now().getTime() + expiresInSeconds * 1000);
    return `${publicUrl()}${path}?${signer.sign(path, expiresAt)}`;
  }

  async *listAttemptFolders(before: Date): AsyncIterable<string> {
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
    const { pathname, searchParams } = new URL(request.url ?? "", "http://localhost");
    const key = pathname.slice(FILES_PATH.length);
    if (request.method !== "GET" && request.method !== "HEAD") return refuse(response, 405, "Only GET and HEAD.");
    const { signer, clock } = this.options;
    const verdict = isKey(key) ? signer.verify(pathname, searchParams, clock.now()) : "forged";
    if (verdict === "expired") return refuse(response, 410, "This link has expired. Query the image's url again.");
    if (verdict === "forged") return refuse(response, 403, "This link is not valid. Use the image's url as it came.");
    const path = this.pathOf(key);
    const maxAge = Math.floor(Number(searchParams.get("expires")) - clock.now().getTime() / 1000); // as long as the link
    const size = await stat(path).then(
      (found) => found.size,
      () => undefined,
    );
    if (size === undefined) return refuse(response, 404, "This picture was deleted.");
    response.writeHead(200, {
      "content-type": MEDIA_TYPES[extname(key)] ?? "application/octet-stream",
      "content-length": size,
      "cache-control": `private, max-age=${maxAge}, immutable`,
      "x-content-type-options": "nosniff",
      "access-control-allow-origin": "*",
    });
    if (request.method === "HEAD") return void response.end();
    // A client that hangs up in mid-download is not an error of ours.
    await pipeline(createReadStream(path), response).catch(() => response.destroy());
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

async function writeDurably(path: string, bytes: Uint8Array): Promise<void> {
  const file = await open(path, "wx", 0o600);
  try {
    await file.writeFile(bytes);
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

function refuse(response: ServerResponse, status: number, message: string): void {
  response.writeHead(status, { "content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff" });
  response.end(`${message}\n`);
}
