/**
 * Requests to one bucket of an S3 service: signed, each with a time limit, and repeated while the service fails.
 *
 * A request is tried up to four times, after 0.1, 0.3 and 0.9 seconds (less a random half), when no answer comes in time, the
 * connection breaks, or the answer is 408, 429 or 5xx; no try begins later than twice the time limit. All requests may be
 * repeated. A refusal (403, no such bucket) is not: the settings are wrong. Either way the caller gets UNAVAILABLE, which
 * says that later is better, and the log has what the service said. The bytes of bodies are covered by the signature.
 */
import { createHash } from "node:crypto";
import { setTimeout } from "node:timers/promises";
import { AwsV4Signer } from "aws4fetch";
import type { Clock } from "../platform/clock.ts";
import { DomainError } from "../platform/errors.ts";
import type { Logger } from "../platform/logger.ts";
import { type Metrics, secondsSince } from "../platform/metrics.ts";
import type { S3Settings } from "../platform/s3-settings.ts";
import { elementOf } from "./s3-xml.ts";

const MAX_TRIES = 4;
const FIRST_WAIT_MS = 100;
const WAIT_FACTOR = 3;
const RETRY_AFTER_MS = 5000;
/** What a slow connection moves, at least: bytes get that much more time. */
const MIN_BYTES_PER_MS = 500;
/** Statuses below 500 that are not about the request. */
const TRANSIENT = new Set([408, 429]);

export interface S3ClientOptions extends S3Settings {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics?: Metrics;
}

export interface S3Request {
  readonly method: "GET" | "PUT" | "POST" | "DELETE";
  /** Empty for the bucket itself. */
  readonly key: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
}

/** Makes something of an answer whose status is good. Counts to the time limit, and is repeated with the request. */
type Reader<T> = (response: Response) => Promise<T>;

/** An answer that is none. */
export class S3Refusal extends Error {
  constructor(
    readonly status: number,
    readonly reason: string,
  ) {
    super(`the S3 service answered ${status} ${reason}`);
  }

  static of(status: number, xml: string): S3Refusal {
    return new S3Refusal(status, elementOf(xml, "Code") ?? "");
  }

  get isTransient(): boolean {
    return this.status >= 500 || TRANSIENT.has(this.status) || this.reason === "RequestTimeout";
  }

  get isAbsence(): boolean {
    return this.status === 404 && this.reason !== "NoSuchBucket";
  }
}

export class S3Client {
  /** Of derived signing keys, one a day. */
  private readonly signingKeys = new Map<string, ArrayBuffer>();
  /** The last request that ended was given up. */
  isFailing = false;

  constructor(readonly options: S3ClientOptions) {}

  /** @throws DomainError UNAVAILABLE */
  async send<T>(request: S3Request, read: Reader<T>): Promise<T> {
    return this.persist(request, read).catch((error) => this.fail(request, error));
  }

  /** Undefined when there is no such object. @throws DomainError UNAVAILABLE */
  async find<T>(request: S3Request, read: Reader<T>): Promise<T | undefined> {
    return this.persist(request, read).catch((error) =>
      error instanceof S3Refusal && error.isAbsence ? undefined : this.fail(request, error),
    );
  }

  /** A link that anyone may use to read the object, for clients that reach the service at `endpoint`. */
  async presign(key: string, expiresInSeconds: number, endpoint: string): Promise<string> {
    const url = this.address(endpoint, key);
    url.searchParams.set("X-Amz-Expires", String(expiresInSeconds));
    const signed = await this.signer(url, { method: "GET", signQuery: true }).sign();
    return signed.url.href;
  }

  private async persist<T>(request: S3Request, read: Reader<T>): Promise<T> {
    const startedAt = performance.now();
    for (let tries = 1; ; tries++) {
      try {
        return await this.timed(request, () => this.tryOnce(request, read));
      } catch (error) {
        const isFinal = error instanceof S3Refusal && !error.isTransient;
        if (isFinal || tries === MAX_TRIES) throw error;
        await setTimeout(FIRST_WAIT_MS * WAIT_FACTOR ** (tries - 1) * (0.5 + Math.random() / 2));
        if (performance.now() - startedAt >= 2 * this.options.timeoutMs) throw error;
      }
    }
  }

  private async timed<T>({ method }: S3Request, ask: () => Promise<T>): Promise<T> {
    const startedAt = performance.now();
    const note = (outcome: "done" | "absent" | "refused" | "failed"): void =>
      this.options.metrics?.s3Seconds.observe({ method, outcome }, secondsSince(startedAt));
    try {
      const answer = await ask();
      this.isFailing = false;
      note("done");
      return answer;
    } catch (error) {
      if (error instanceof S3Refusal && error.isAbsence) note("absent");
      else note(error instanceof S3Refusal && !error.isTransient ? "refused" : "failed");
      throw error;
    }
  }

  private async tryOnce<T>({ method, key, query, headers, body }: S3Request, read: Reader<T>): Promise<T> {
    const { endpoint, timeoutMs } = this.options;
    const url = this.address(endpoint, key);
    for (const [name, value] of Object.entries(query ?? {})) url.searchParams.set(name, value);
    const sha256 = createHash("sha256")
      .update(body ?? "")
      .digest("hex");
    const signer = this.signer(url, { method, headers: { ...headers, "x-amz-content-sha256": sha256 } });
    const signed = await signer.sign();
    signed.headers.set("accept-encoding", "identity"); // as long as it says it is; not signed, because proxies change it
    const deadline = new AbortController();
    const timer = globalThis.setTimeout(
      () => deadline.abort(new Error(`the S3 service did not answer in ${timeoutMs} ms`)),
      timeoutMs + (body?.length ?? 0) / MIN_BYTES_PER_MS,
    );
    try {
      // A redirect is to another region: it would want another signature.
      const init = { method, headers: signed.headers, redirect: "manual", signal: deadline.signal } as const;
      const response = await fetch(signed.url, body === undefined ? init : { ...init, body });
      if (!response.ok) throw S3Refusal.of(response.status, await response.text());
      return await read(response);
    } finally {
      clearTimeout(timer);
    }
  }

  private signer(
    url: URL,
    request: { method: string; headers?: Readonly<Record<string, string>>; signQuery?: boolean },
  ): AwsV4Signer {
    const { accessKeyId, secretAccessKey, sessionToken, region, clock } = this.options;
    const datetime = clock
      .now()
      .toISOString()
      .replace(/[:-]|\.\d{3}/g, "");
    const credentials = { accessKeyId, secretAccessKey, region, service: "s3", cache: this.signingKeys };
    const temporary = sessionToken === undefined ? {} : { sessionToken };
    return new AwsV4Signer({ url: url.href, datetime, ...credentials, ...temporary, ...request });
  }

  private address(endpoint: string, key: string): URL {
    const { bucket, isPathStyle } = this.options;
    const url = new URL(endpoint);
    if (isPathStyle) url.pathname = `${url.pathname.replace(/\/$/, "")}/${bucket}/${key}`;
    else {
      url.hostname = `${bucket}.${url.hostname}`;
      url.pathname = `${url.pathname.replace(/\/$/, "")}/${key}`;
    }
    return url;
  }

  private fail({ method, key }: S3Request, cause: unknown): never {
    this.isFailing = true;
    this.options.logger.error({ err: cause, method, key }, "the image store failed");
    throw new DomainError("UNAVAILABLE", "Stored files cannot be reached at the moment. Try again in a few seconds.", {
      retryable: true,
      retryAfterMs: RETRY_AFTER_MS,
      cause,
    });
  }
}
