/** Pictures as objects of an S3 bucket, which nobody else writes to. */
import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { DomainError, invariant, StartupError } from "../platform/errors.ts";
import { type ImageStore, isKey, mediaTypeOf, requireKey, type StoredStream } from "./image-store.ts";
import { type S3Client, S3Refusal } from "./s3-client.ts";
import { S3MultipartUpload } from "./s3-multipart-upload.ts";
import { deletionOf, type ListedObject, type ListedPage, listedPageOf } from "./s3-xml.ts";
import type { SignedLinks } from "./signed-links.ts";
import { FILES_PATH } from "./stored-files.ts";

/** Kept in memory until it is stored, so that it can be sent again. */
const PART_BYTES = 8 * 1024 * 1024;

export class S3ImageStore implements ImageStore {
  constructor(
    private readonly client: S3Client,
    private readonly links: SignedLinks,
  ) {}

  /** A service that does not answer may do so later; one that refuses will not. */
  async prepare(): Promise<void> {
    const { endpoint, bucket } = this.client.options;
    await this.listPage({ "max-keys": "1" }).catch((error) => {
      const cause = error instanceof DomainError ? error.details.cause : error;
      if (!(cause instanceof S3Refusal) || cause.isTransient) return;
      throw new StartupError(
        `The bucket ${bucket} at ${endpoint} cannot be used: ${cause.message}. Check S3_BUCKET, S3_ENDPOINT, S3_REGION and ` +
          "the key, which must be allowed to list, read, write and delete.",
        { cause },
      );
    });
  }

  /** A service that failed is asked for something small first. */
  async checkWritable(): Promise<void> {
    if (this.client.isFailing) await this.listPage({ "max-keys": "1" });
  }

  async put(key: string, body: Uint8Array): Promise<void> {
    const headers = headersOf(key);
    await this.client.send({ method: "PUT", key: requireKey(key), headers, body }, (response) =>
      response.arrayBuffer(),
    );
  }

  async putStream(key: string, source: AsyncIterable<Uint8Array>): Promise<void> {
    requireKey(key);
    let upload: S3MultipartUpload | undefined;
    try {
      for await (const { bytes, isLast } of inParts(source)) {
        if (isLast && upload === undefined) return await this.put(key, bytes);
        upload ??= await S3MultipartUpload.begin(this.client, key, headersOf(key));
        if (bytes.length > 0) await upload.add(bytes);
      }
      await upload?.complete();
    } catch (error) {
      await upload?.abort();
      throw error;
    }
  }

  async get(key: string): Promise<Uint8Array | undefined> {
    const request = { method: "GET", key: requireKey(key) } as const;
    return this.client.find(request, async (response) => Buffer.from(await response.arrayBuffer()));
  }

  async getStream(key: string): Promise<StoredStream | undefined> {
    return this.client.find({ method: "GET", key: requireKey(key) }, async ({ body, headers }) => {
      const length = headers.get("content-length");
      invariant(body !== null && length !== null, "an object has bytes, and says how many");
      return { sizeBytes: Number(length), content: Readable.fromWeb(body) };
    });
  }

  url(key: string, expiresInSeconds: number): string {
    return this.links.make(FILES_PATH + key, expiresInSeconds);
  }

  async directUrl(key: string, expiresInSeconds: number): Promise<string | undefined> {
    const { publicEndpoint } = this.client.options;
    return publicEndpoint && this.client.presign(requireKey(key), expiresInSeconds, publicEndpoint);
  }

  /** Keys are listed in order, so those of a folder follow one another. */
  async *listFolders(before: Date): AsyncIterable<string> {
    let current: { readonly folder: string; isOld: boolean } | undefined;
    for await (const page of this.pages("")) {
      for (const { key, lastModified } of page) {
        const folder = folderOf(key);
        if (folder === undefined) continue;
        if (current !== undefined && current.folder !== folder && current.isOld) yield current.folder;
        if (current?.folder !== folder) current = { folder, isOld: true };
        if (lastModified >= before) current.isOld = false;
      }
    }
    if (current?.isOld) yield current.folder;
  }

  async deleteFolder(folder: string): Promise<void> {
    for await (const page of this.pages(`${requireKey(folder)}/`)) {
      if (page.length > 0) await this.deleteObjects(page.map(({ key }) => key));
    }
  }

  /** @param keys up to 1000: as many as a page has */
  private async deleteObjects(keys: readonly string[]): Promise<void> {
    const body = Buffer.from(deletionOf(keys));
    const headers = { "content-md5": createHash("md5").update(body).digest("base64") };
    await this.client.send({ method: "POST", key: "", query: { delete: "" }, headers, body }, async (response) => {
      const xml = await response.text();
      if (xml.includes("<Error>")) throw S3Refusal.of(500, xml); // some were deleted
    });
  }

  private async *pages(prefix: string): AsyncGenerator<readonly ListedObject[]> {
    for (let token: string | undefined, isFirst = true; isFirst || token !== undefined; isFirst = false) {
      const { objects, next } = await this.listPage({ prefix, ...(token && { "continuation-token": token }) });
      yield objects;
      token = next;
    }
  }

  private listPage(query: Readonly<Record<string, string>>): Promise<ListedPage> {
    return this.client.send({ method: "GET", key: "", query: { "list-type": "2", ...query } }, async (response) =>
      listedPageOf(await response.text()),
    );
  }
}

const headersOf = (key: string) => ({ "content-type": mediaTypeOf(key) });

/** <tenant>/<generation>/<lease> of an object; undefined for one that is not ours. */
function folderOf(key: string): string | undefined {
  const folder = key.split("/", 3).join("/");
  return isKey(key) && key.length > folder.length ? folder : undefined;
}

/** Cuts a stream into parts of the same size; the last one is smaller, perhaps empty. */
async function* inParts(
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<{ readonly bytes: Uint8Array; readonly isLast: boolean }> {
  let pending: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of source) {
    pending.push(chunk);
    size += chunk.length;
    if (size < PART_BYTES) continue;
    let joined = Buffer.concat(pending);
    for (; joined.length >= PART_BYTES; joined = joined.subarray(PART_BYTES))
      yield { bytes: joined.subarray(0, PART_BYTES), isLast: false };
    pending = [joined];
    size = joined.length;
  }
  yield { bytes: Buffer.concat(pending), isLast: true };
}
