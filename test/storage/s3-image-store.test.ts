import { randomUUID } from "node:crypto";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { systemClock } from "../../src/platform/clock.ts";
import { DomainError, StartupError } from "../../src/platform/errors.ts";
import { createLogger } from "../../src/platform/logger.ts";
import { Metrics } from "../../src/platform/metrics.ts";
import { S3Client, type S3ClientOptions } from "../../src/storage/s3-client.ts";
import { S3ImageStore } from "../../src/storage/s3-image-store.ts";
import { linkedStore } from "../support/linked-store.ts";
import { Told } from "../support/metrics.ts";
import { S3_KEY, S3Server } from "../support/s3-server.ts";
import { signatureOf } from "../support/s3-signature.ts";

const bytes = Uint8Array.of(1, 2, 3, 4, 5);
const newKey = (): string => `${randomUUID()}/${randomUUID()}/${randomUUID()}/0/original.png`;

/** The example of "Authenticating Requests: Using Query Parameters" in the documentation of Amazon S3. */
const EXAMPLE = {
  signature: "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
  secretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
};

test("signs a link as the documentation of Amazon S3 shows it, and so does the server of these tests", async () => {
  const client = new S3Client({
    bucket: "examplebucket",
    region: "us-east-1",
    endpoint: "https://s3.amazonaws.com",
    publicEndpoint: undefined,
    isPathStyle: false,
    accessKeyId: "AKIAIOSFODNN7EXAMPLE",
    secretAccessKey: EXAMPLE.secretAccessKey,
    sessionToken: undefined,
    timeoutMs: 1000,
    clock: { ...systemClock, now: () => new Date("2013-05-24T00:00:00Z") },
    logger: createLogger("silent"),
  });
  const url = new URL(await client.presign("test.txt", 86_400, "https://s3.amazonaws.com"));
  expect(url.origin + url.pathname).toBe("https://examplebucket.s3.amazonaws.com/test.txt");
  expect(url.searchParams.get("X-Amz-Signature")).toBe(EXAMPLE.signature);
  const signature = signatureOf({
    method: "GET",
    url,
    headers: { host: url.host },
    signedHeaders: ["host"],
    payloadHash: "UNSIGNED-PAYLOAD",
    date: "20130524T000000Z",
    region: "us-east-1",
    secret: EXAMPLE.secretAccessKey,
  });
  expect(signature).toBe(EXAMPLE.signature);
});

describe("an image store in a bucket", () => {
  let server: S3Server;
  let close: () => Promise<void>;
  let store: S3ImageStore;

  beforeEach(async () => {
    server = await new S3Server().start();
    ({ store, close } = await storeWith({}));
  });
  afterEach(async () => {
    await close();
    await server.stop();
  });

  const storeWith = (options: Partial<S3ClientOptions>) => {
    const { endpoint, bucket, region } = server;
    const place = {
      endpoint,
      publicEndpoint: undefined,
      bucket,
      region,
      isPathStyle: true,
      ...S3_KEY,
      sessionToken: undefined,
    };
    const client = new S3Client({
      ...place,
      timeoutMs: 200,
      clock: systemClock,
      logger: createLogger("silent"),
      ...options,
    });
    return linkedStore(systemClock, (links) => new S3ImageStore(client, links));
  };
  const errorOf = (act: Promise<unknown>): Promise<any> =>
    act.then(
      () => undefined,
      (error) => error,
    );

  test("asks again while the service fails, and gives up after the fourth time", async () => {
    ({ store, close } = await storeWith({ timeoutMs: 5000 }));
    const key = newKey();
    const metrics = new Metrics({ role: "api", pool: "local" });
    const told = await storeWith({ timeoutMs: 5000, metrics });
    server.failures = 1;
    await told.store.put(key, bytes);
    expect(await told.store.get(newKey())).toBeUndefined();
    await told.close();
    const requests = new Told(await metrics.registry.metrics());
    const count = (labels: Record<string, string>) => requests.value("atelier_s3_request_seconds_count", labels);
    expect([count({ method: "PUT", outcome: "failed" }), count({ method: "PUT", outcome: "done" })]).toEqual([1, 1]);
    expect(count({ method: "GET", outcome: "absent" })).toBe(1);
    server.requests.length = 0;
    server.failures = 3;
    await store.put(key, bytes);
    expect(server.requests).toEqual(Array(4).fill(`PUT ${key}`));
    server.failures = 4;
    const error = await errorOf(store.get(key));
    expect(error).toBeInstanceOf(DomainError);
    expect(error).toMatchObject({ code: "UNAVAILABLE", details: { retryable: true } });
    expect(error.details.cause.message).toBe("the S3 service answered 503 SlowDown");
    expect(server.requests).toHaveLength(8);
    expect(await store.get(key)).toEqual(Buffer.from(bytes));
  });

  test("does not wait for a service that does not answer", async () => {
    server.isSilent = true;
    const error = await errorOf(store.put(newKey(), bytes));
    expect(error).toMatchObject({ code: "UNAVAILABLE" });
    expect(error.details.cause.message).toBe("the S3 service did not answer in 200 ms");
    server.isSilent = false;
    await store.put(newKey(), bytes);
  });

  test("does not repeat what is refused, and tells the operator at the start", async () => {
    const { store: stranger, close: closeStranger } = await storeWith({ secretAccessKey: "another secret" });
    const error = await errorOf(stranger.prepare());
    expect(error).toBeInstanceOf(StartupError);
    expect(error.message).toContain(
      `The bucket pictures at ${server.endpoint} cannot be used: the S3 service answered 403 SignatureDoesNotMatch.`,
    );
    expect(error.message).not.toContain("another secret");
    await closeStranger();
    const { store: lost, close: closeLost } = await storeWith({ bucket: "elsewhere" });
    await expect(lost.prepare()).rejects.toThrow("404 NoSuchBucket");
    expect(server.requests).toHaveLength(1);
    await expect(lost.get(newKey())).rejects.toMatchObject({ code: "UNAVAILABLE" }); // a bucket that is gone is no missing picture
    await closeLost();
  });

  test("shows the session token of a temporary key with every request and link", async () => {
    const sessionToken = "token/of a+session==";
    server.sessionToken = sessionToken;
    const key = newKey();
    expect((await errorOf(store.put(key, bytes))).details.cause.message).toContain("403 InvalidToken");
    const temporary = await storeWith({ sessionToken, publicEndpoint: server.endpoint });
    await temporary.store.prepare();
    await temporary.store.put(key, bytes);
    expect(await temporary.store.get(key)).toEqual(Buffer.from(bytes));
    expect((await fetch((await temporary.store.directUrl(key, 60))!)).status).toBe(200);
    await temporary.store.deleteFolder(key.split("/").slice(0, 3).join("/"));
    expect(server.objects.size).toBe(0);
    await temporary.close();
  });

  test("starts while the service does not answer, and works once it does", async () => {
    server.isSilent = true;
    await store.prepare();
    server.isSilent = false;
    await store.prepare();
  });

  test("answers links with 503 while the service fails", async () => {
    const key = newKey();
    await store.put(key, bytes);
    server.isSilent = true;
    const response = await fetch(store.url(key, 60));
    expect([response.status, response.headers.get("retry-after"), await response.text()]).toEqual([
      503,
      "5",
      "Stored files cannot be reached at the moment. Try again in a few seconds.\n",
    ]);
    server.isSilent = false;
    expect((await fetch(store.url(key, 60))).status).toBe(200);
  });

  test("redirects clients that reach the service, for a minute and to one picture", async () => {
    const direct = await storeWith({ publicEndpoint: server.endpoint });
    const [key, other] = [newKey(), newKey()];
    for (const stored of [key, other]) await direct.store.put(stored, bytes);
    const response = await fetch(direct.store.url(key, 3600), { redirect: "manual" });
    expect([response.status, response.headers.get("cache-control")]).toEqual([307, "no-store"]);
    const location = response.headers.get("location") ?? "";
    expect(new URL(location).searchParams.get("X-Amz-Expires")).toBe("60");
    expect((await fetch(location)).status).toBe(200);
    expect((await fetch(location.replace(key, other))).status).toBe(403);
    await direct.close();
  });

  test("takes an error after a good status for an error, and leaves no parts", async () => {
    async function* source(): AsyncGenerator<Uint8Array> {
      yield Buffer.alloc(9 * 1024 * 1024);
    }
    const folder = `${randomUUID()}/${randomUUID()}/${randomUUID()}`;
    server.hidesErrors = true;
    await expect(store.putStream(`${folder}/sent.bin`, source())).rejects.toMatchObject({ code: "UNAVAILABLE" });
    expect([server.objects.size, server.unfinished.size]).toEqual([0, 0]);
    await store.put(`${folder}/sent.bin`, bytes);
    await expect(store.deleteFolder(folder)).rejects.toMatchObject({ code: "UNAVAILABLE" });
    server.hidesErrors = false;
    await store.deleteFolder(folder);
    expect(server.objects.size).toBe(0);
  });
});
