/**
 * Where pictures and uploads are kept. Keys are made of ids, never of user text: <tenant>/<generation>/<lease>/<index>/<file>
 * and <tenant>/<upload>/<folder>/<file>. What was stored becomes visible only through rows: those of an attempt's fenced
 * completion, or the upload's. One of the four adapters.
 */
import { extname } from "node:path";
import type { Readable } from "node:stream";
import { invariant } from "../platform/errors.ts";

export interface ImageStore {
  /** Before first use. Throws a StartupError when it cannot ever work as it is set up. */
  prepare(): Promise<void>;
  /** Throws UNAVAILABLE when what is stored next would not be kept, as far as that is known: before work that would be lost. */
  checkWritable(): Promise<void>;
  /** Durable when it resolves. */
  put(key: string, bytes: Uint8Array): Promise<void>;
  /** Durable when it resolves; leaves nothing when the source throws, which it then throws, too. */
  putStream(key: string, source: AsyncIterable<Uint8Array>): Promise<void>;
  /** Undefined when there is nothing. */
  get(key: string): Promise<Uint8Array | undefined>;
  /** Undefined when there is nothing. Once it is given, deleting does not cut it off. */
  getStream(key: string): Promise<StoredStream | undefined>;
  /** A link that works for anyone until it expires. */
  url(key: string, expiresInSeconds: number): string;
  /** A link of the store's own, for GET by clients that reach the store; undefined where they do not. */
  directUrl(key: string, expiresInSeconds: number): Promise<string | undefined>;
  /** Every folder of an attempt or upload that was last written before `before`: <tenant>/<generation>/<lease> */
  listFolders(before: Date): AsyncIterable<string>;
  /** Deletes everything under a folder; nothing happens when there is nothing. */
  deleteFolder(folder: string): Promise<void>;
}

export interface StoredStream {
  readonly sizeBytes: number;
  /** Read to its end, or destroyed. */
  readonly content: Readable;
}

const KEY = /^[0-9a-f-]{36}(\/[0-9a-z-]{1,36}){0,3}(\/[a-z0-9]+\.(png|webp|bin))?$/;
const MEDIA_TYPES: Readonly<Record<string, string>> = { ".png": "image/png", ".webp": "image/webp" };

/** Guards every adapter against keys that are not made of ids. */
export const isKey = (key: string): boolean => KEY.test(key);

/** @returns the key */
export function requireKey(key: string): string {
  invariant(isKey(key), `"${key}" is not a storage key`);
  return key;
}

export const mediaTypeOf = (key: string): string => MEDIA_TYPES[extname(key)] ?? "application/octet-stream";
