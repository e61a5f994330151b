/**
 * Where pictures and uploads are kept. Keys are made of ids, never of user text: <tenant>/<generation>/<lease>/<index>/<file>
 * and <tenant>/<upload>/<folder>/<file>. What was stored becomes visible only through rows: those of an attempt's fenced
 * completion, or the upload's. One of the four adapters.
 */
export interface ImageStore {
  /** Durable when it resolves. */
  put(key: string, bytes: Uint8Array): Promise<void>;
  /** Durable when it resolves; leaves nothing when the source throws, which it then throws, too. */
  putStream(key: string, source: AsyncIterable<Uint8Array>): Promise<void>;
  /** Undefined when there is nothing. */
  get(key: string): Promise<Uint8Array | undefined>;
  /** Undefined when there is nothing. Once it is given, deleting does not cut it off. */
  getStream(key: string): Promise<AsyncIterable<Uint8Array> | undefined>;
  /** A link that works for anyone until it expires. */
  url(key: string, expiresInSeconds: number): string;
  /** Every folder of an attempt or upload that was last written before `before`: <tenant>/<generation>/<lease> */
  listFolders(before: Date): AsyncIterable<string>;
  /** Deletes everything under a folder; nothing happens when there is nothing. */
  deleteFolder(folder: string): Promise<void>;
}

const KEY = /^[0-9a-f-]{36}(\/[0-9a-z-]{1,36}){0,3}(\/[a-z0-9]+\.(png|webp|bin))?$/;

/** Guards every adapter against keys that are not made of ids. */
export const isKey = (key: string): boolean => KEY.test(key);
