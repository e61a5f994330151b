/**
 * One file from a hub into a folder. It grows as `<name>.part`, goes on from there after any interruption, and gets its
 * name only when size and digest are right: a file with its name is whole.
 */
import { createHash } from "node:crypto";
import { createReadStream, existsSync, mkdirSync, renameSync, rmSync, statSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { HubError } from "./hub-error.ts";
import { type Hub, type HubFile, headersOf, refusal } from "./repository.ts";

export interface DownloadOptions {
  readonly folder: string;
  /** Bytes that are there, of this file. */
  readonly onProgress: (bytes: number) => void;
  readonly signal: AbortSignal;
  /** Before the second try; doubled before every further one. */
  readonly retryDelayMs?: number;
  /** Without a byte for this long, a connection is given up. */
  readonly idleTimeoutMs?: number;
}

/** Tries in a row that may bring nothing. */
const MAX_FRUITLESS_TRIES = 6;
const MAX_RETRY_DELAY_MS = 60_000;

/** Worth another try: the connection broke, or the server is busy. */
class Interrupted extends Error {
  override readonly name = "Interrupted";

  constructor(
    message: string,
    readonly retryAfterMs: number | undefined,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

export async function download(hub: Hub, file: HubFile, options: DownloadOptions): Promise<void> {
  const path = join(options.folder, file.path);
  if (existsSync(path) && statSync(path).size === file.size) return options.onProgress(file.size);
  mkdirSync(dirname(path), { recursive: true });
  const part = `${path}.part`;
  let hasBeenWrong = false;
  for (;;) {
    await fetchAll(hub, file, part, options);
    if (await hasDigest(part, file)) break;
    rmSync(part);
    if (hasBeenWrong) {
      throw new HubError(`${file.path} came with wrong content twice. Try again later, or another HF_ENDPOINT.`);
    }
    hasBeenWrong = true;
  }
  renameSync(part, path);
}

/** Until `part` has the file's size. */
async function fetchAll(hub: Hub, file: HubFile, part: string, options: DownloadOptions): Promise<void> {
  const { retryDelayMs = 1000, signal } = options;
  let fruitless = 0;
  while (sizeOf(part) < file.size || !existsSync(part)) {
    const before = sizeOf(part);
    try {
      await fetchRest(hub, file, part, options);
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof Interrupted)) throw error;
      fruitless = sizeOf(part) > before ? 0 : fruitless + 1;
      if (fruitless >= MAX_FRUITLESS_TRIES) {
        throw new HubError(
          `${file.path} does not arrive: ${error.message} What is there is kept; run the command again to go on.`,
          { cause: error },
        );
      }
      await sleep(error.retryAfterMs ?? Math.min(MAX_RETRY_DELAY_MS, retryDelayMs * 2 ** fruitless), undefined, {
        signal,
      });
    }
  }
  if (sizeOf(part) > file.size) rmSync(part); // of another commit
  if (!existsSync(part)) await fetchAll(hub, file, part, options);
}

/** One request for what is missing. */
async function fetchRest(hub: Hub, file: HubFile, part: string, options: DownloadOptions): Promise<void> {
  const { idleTimeoutMs = 30_000, signal } = options;
  const connection = new AbortController();
  const stop = (): void => connection.abort();
  let timer = setTimeout(stop, idleTimeoutMs);
  signal.addEventListener("abort", stop);
  try {
    const offset = sizeOf(part);
    const response = await fetch(file.url, {
      headers: { ...headersOf(hub), ...(offset > 0 ? { range: `bytes=${offset}-` } : {}) },
      signal: connection.signal,
    });
    const body = bodyOf(response, file);
    const isRest = response.status === 206 && response.headers.get("content-range")?.startsWith(`bytes ${offset}-`);
    const handle = await open(part, offset > 0 && isRest ? "a" : "w"); // who ignores the range sends all of it
    try {
      await append(handle, body, { file, from: offset > 0 && isRest ? offset : 0, onBytes: options.onProgress, alive });
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (isOfNetwork(error)) throw new Interrupted("the connection broke.", undefined, { cause: error });
    if (!(error instanceof Error) || !("code" in error)) throw error;
    throw new HubError(
      `${part} cannot be written (${String(error.code)}). Make room, or name a folder you may write to.`,
      {
        cause: error,
      },
    );
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
  }

  function alive(): void {
    clearTimeout(timer);
    timer = setTimeout(stop, idleTimeoutMs);
  }
}

/** What fetch throws when a connection fails or is given up. */
const isOfNetwork = (error: unknown): boolean => error instanceof TypeError || error instanceof DOMException;

function bodyOf(response: Response, { path }: HubFile): ReadableStream<Uint8Array> {
  const { status } = response;
  if (status === 429 || status >= 500) {
    const seconds = Number(response.headers.get("retry-after") ?? Number.NaN);
    const waitMs = Number.isFinite(seconds) ? Math.min(MAX_RETRY_DELAY_MS, seconds * 1000) : undefined;
    throw new Interrupted(`the hub answered ${status}.`, waitMs);
  }
  if (!response.ok || response.body === null) throw refusal(status, path);
  return response.body;
}

async function append(
  handle: FileHandle,
  body: ReadableStream<Uint8Array>,
  { file, from, onBytes, alive }: { file: HubFile; from: number; onBytes: (bytes: number) => void; alive: () => void },
): Promise<void> {
  let size = from;
  for await (const chunk of body) {
    alive();
    size += chunk.byteLength;
    if (size > file.size) {
      await handle.truncate(0);
      throw new Interrupted("the hub sent more than it announced.", undefined);
    }
    await handle.write(chunk);
    onBytes(size);
  }
}

const sizeOf = (path: string): number => statSync(path, { throwIfNoEntry: false })?.size ?? 0;

/** Git's object id is the SHA-1 of a header and the content. */
async function hasDigest(path: string, { digest, size }: HubFile): Promise<boolean> {
  const hash = createHash(digest.kind === "sha256" ? "sha256" : "sha1");
  if (digest.kind === "git") hash.update(`blob ${size}\0`);
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest("hex") === digest.value;
}
