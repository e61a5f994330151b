/**
 * As much of an S3 service as the product needs, in memory, with one bucket: it checks every signature, hash and date, and
 * fails, or keeps silent, when it is told to.
 */
import { createHash, randomUUID } from "node:crypto";
import http, { type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout } from "node:timers/promises";
import { signatureOf } from "./s3-signature.ts";

interface StoredObject {
  readonly bytes: Buffer;
  readonly type: string;
  lastModified: Date;
}

interface Answer {
  readonly status: number;
  readonly headers?: Record<string, string>;
  readonly body?: Buffer | string;
}

const MAX_SKEW_MS = 15 * 60_000;
const MIN_PART_BYTES = 5 * 1024 * 1024;

export const S3_KEY = {
  accessKeyId: "AKIDEXAMPLE",
  secretAccessKey: "a secret that is never shown",
  sessionToken: undefined,
};

export class S3Server {
  readonly bucket = "pictures";
  readonly region = "eu-test-1";
  readonly objects = new Map<string, StoredObject>();
  readonly unfinished = new Map<string, { key: string; type: string; parts: Map<number, Buffer> }>();
  /** Method and key of every request that came with a good signature. */
  readonly requests: string[] = [];
  /** On a page of a listing, and in one deletion. */
  pageSize = 1000;
  /** How many requests from now on fail with 503. */
  failures = 0;
  /** Of a temporary key: requests and links have to bear it, and sign it. */
  sessionToken: string | undefined;
  /** Before a request is looked at. */
  delayMs = 0;
  /** Requests are not answered. */
  isSilent = false;
  /** How many of the next requests with a body break off in the middle of it, and of the next answers with one. */
  cuts = { requests: 0, answers: 0 };
  /** The deletion of several, and the joining of parts, answer 200 with an error in it. */
  hidesErrors = false;

  private readonly server = http.createServer((request, response) => void this.serve(request, response));

  constructor(private readonly now: () => Date = () => new Date()) {}

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    return this;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** For a server that keeps its pictures here. */
  get environment(): NodeJS.ProcessEnv {
    return {
      S3_ENDPOINT: this.endpoint,
      S3_BUCKET: this.bucket,
      S3_REGION: this.region,
      S3_ACCESS_KEY_ID: S3_KEY.accessKeyId,
      S3_SECRET_ACCESS_KEY: S3_KEY.secretAccessKey,
      S3_TIMEOUT_SECONDS: "1",
    };
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) {
      if (this.cuts.requests > 0) {
        this.cuts.requests--;
        return void request.socket.destroy();
      }
      chunks.push(chunk);
    }
    const body = Buffer.concat(chunks);
    const url = new URL(request.url ?? "", `http://${request.headers.host}`);
    if (this.isSilent) return;
    if (this.delayMs > 0) await setTimeout(this.delayMs);
    const refusal = this.refusalOf(request, url, body);
    const { status, headers, body: content } = refusal ? error(...refusal) : this.answer(request, url, body);
    response.writeHead(status, { "content-length": Buffer.byteLength(content ?? ""), ...headers });
    if (this.cuts.answers === 0 || content === undefined) return void response.end(content);
    this.cuts.answers--;
    response.write(content.slice(0, content.length / 2), () => request.socket.destroy());
  }

  private answer({ method = "", headers }: IncomingMessage, url: URL, body: Buffer): Answer {
    const [, bucket, ...rest] = decodeURIComponent(url.pathname).split("/");
    const key = rest.join("/");
    this.requests.push(
      `${method} ${key}${[...url.searchParams.keys()].filter((name) => !name.startsWith("X-")).join()}`,
    );
    if (this.failures > 0) {
      this.failures -= 1;
      return error(503, "SlowDown");
    }
    if (bucket !== this.bucket) return error(404, "NoSuchBucket");
    const type = headers["content-type"] ?? "binary/octet-stream";
    const query = url.searchParams;
    if (query.has("list-type")) return this.list(query);
    if (query.has("delete")) return this.delete(body, headers["content-md5"]?.toString());
    if (query.has("uploads")) {
      const uploadId = randomUUID();
      this.unfinished.set(uploadId, { key, type, parts: new Map() });
      return { status: 200, body: `<R><UploadId>${uploadId}</UploadId></R>` };
    }
    if (query.has("uploadId")) return this.part(method, query, body);
    switch (method) {
      case "PUT":
        this.objects.set(key, { bytes: body, type, lastModified: new Date() });
        return { status: 200, headers: { etag: etagOf(body) } };
      case "GET": {
        const found = this.objects.get(key);
        return found === undefined
          ? error(404, "NoSuchKey")
          : { status: 200, headers: { "content-type": found.type }, body: found.bytes };
      }
      default:
        return error(405, "MethodNotAllowed");
    }
  }

  private list(query: URLSearchParams): Answer {
    const prefix = query.get("prefix") ?? "";
    const after = Buffer.from(query.get("continuation-token") ?? "", "base64").toString();
    const size = Math.min(this.pageSize, Number(query.get("max-keys") ?? 1000));
    const found = [...this.objects]
      .filter(([key]) => key.startsWith(prefix) && key > after)
      .sort(([a], [b]) => (a < b ? -1 : 1));
    const page = found.slice(0, size);
    const contents = page.map(
      ([key, { lastModified }]) =>
        `<Contents><Key>${key}</Key><LastModified>${lastModified.toISOString()}</LastModified></Contents>`,
    );
    const token = Buffer.from(page.at(-1)?.[0] ?? "").toString("base64");
    const next = found.length > size ? `<NextContinuationToken>${token}</NextContinuationToken>` : "";
    const isTruncated = `<IsTruncated>${found.length > size}</IsTruncated>`;
    return { status: 200, body: `<ListBucketResult>${isTruncated}${contents.join("")}${next}</ListBucketResult>` };
  }

  private delete(body: Buffer, md5: string | undefined): Answer {
    if (md5 !== createHash("md5").update(body).digest("base64")) return error(400, "BadDigest");
    if (this.hidesErrors)
      return { status: 200, body: "<DeleteResult><Error><Code>InternalError</Code></Error></DeleteResult>" };
    const keys = [...body.toString().matchAll(/<Key>([^<]*)<\/Key>/g)].map(([, key = ""]) => key);
    if (keys.length > this.pageSize) return error(400, "MalformedXML");
    for (const key of keys) this.objects.delete(key);
    return { status: 200, body: "<DeleteResult/>" };
  }

  private part(method: string, query: URLSearchParams, body: Buffer): Answer {
    const uploadId = query.get("uploadId") ?? "";
    const upload = this.unfinished.get(uploadId);
    if (upload === undefined) return error(404, "NoSuchUpload");
    if (method === "PUT") {
      upload.parts.set(Number(query.get("partNumber")), body);
      return { status: 200, headers: { etag: etagOf(body) } };
    }
    if (method === "DELETE") {
      this.unfinished.delete(uploadId);
      return { status: 204 };
    }
    if (this.hidesErrors) return { status: 200, body: "<Error><Code>InternalError</Code></Error>" };
    const named = [...body.toString().matchAll(/<PartNumber>(\d+)<\/PartNumber><ETag>&quot;(\w+)&quot;<\/ETag>/g)];
    const parts = named.map(([, number]) => upload.parts.get(Number(number)) ?? Buffer.alloc(0));
    if (parts.length === 0 || parts.some((part, i) => etagOf(part) !== `"${named[i]?.[2]}"`))
      return error(400, "InvalidPart");
    if (parts.slice(0, -1).some((part) => part.length < MIN_PART_BYTES)) return error(400, "EntityTooSmall");
    this.objects.set(upload.key, { bytes: Buffer.concat(parts), type: upload.type, lastModified: new Date() });
    this.unfinished.delete(uploadId);
    return { status: 200, body: "<CompleteMultipartUploadResult/>" };
  }

  /** Why a request is not taken. */
  private refusalOf({ method = "", headers }: IncomingMessage, url: URL, body: Buffer): [number, string] | undefined {
    const query = url.searchParams;
    const isLink = query.has("X-Amz-Signature");
    const match = /^AWS4-HMAC-SHA256 Credential=(\S+), SignedHeaders=(\S+), Signature=(\w+)$/.exec(
      headers.authorization ?? "",
    );
    const [, credential = "", names = "", given = ""] = isLink
      ? ["", ...["Credential", "SignedHeaders", "Signature"].map((name) => query.get(`X-Amz-${name}`) ?? "")]
      : (match ?? []);
    if (given === "") return [403, "AccessDenied"];
    const date = (isLink ? query.get("X-Amz-Date") : headers["x-amz-date"]?.toString()) ?? "";
    if (credential !== `${S3_KEY.accessKeyId}/${date.slice(0, 8)}/${this.region}/s3/aws4_request`)
      return [403, "InvalidAccessKeyId"];
    const token = isLink ? query.get("X-Amz-Security-Token") : headers["x-amz-security-token"];
    if ((token ?? undefined) !== this.sessionToken) return [403, "InvalidToken"];
    if (token && !isLink && !names.split(";").includes("x-amz-security-token")) return [403, "AccessDenied"];
    const payloadHash = isLink ? "UNSIGNED-PAYLOAD" : (headers["x-amz-content-sha256"]?.toString() ?? "");
    const signature = signatureOf({
      method,
      url,
      headers: headers as Record<string, string>,
      signedHeaders: names.split(";"),
      payloadHash,
      date,
      region: this.region,
      secret: S3_KEY.secretAccessKey,
    });
    if (signature !== given || !names.split(";").includes("host")) return [403, "SignatureDoesNotMatch"];
    const age = this.now().getTime() - Date.parse(date.replace(/(....)(..)(..T..)(..)/, "$1-$2-$3:$4:"));
    if (isLink && age > Number(query.get("X-Amz-Expires")) * 1000) return [403, "AccessDenied"];
    if (!isLink && Math.abs(age) > MAX_SKEW_MS) return [403, "RequestTimeTooSkewed"];
    if (!isLink && payloadHash !== createHash("sha256").update(body).digest("hex"))
      return [400, "XAmzContentSHA256Mismatch"];
    return undefined;
  }
}

const etagOf = (bytes: Buffer): string => `"${createHash("md5").update(bytes).digest("hex")}"`;

const error = (status: number, code: string): Answer => ({
  status,
  body: `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>no</Message></Error>`,
});
