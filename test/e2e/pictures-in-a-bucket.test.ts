import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../src/platform/clock.ts";
import { createLogger } from "../../src/platform/logger.ts";
import { StorageSweep } from "../../src/scheduler/storage-sweep.ts";
import { S3Client } from "../../src/storage/s3-client.ts";
import { S3ImageStore } from "../../src/storage/s3-image-store.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import { CANCEL } from "../support/graphql-client.ts";
import { expectBalancedLedger } from "../support/ledger.ts";
import { linkedStore } from "../support/linked-store.ts";
import { skipPauses } from "../support/pauses.ts";
import { S3_KEY, S3Server } from "../support/s3-server.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";
import { createUpload, finishUpload, send, sha256Of } from "../support/uploads.ts";

const PICTURE = await sharp({ create: { width: 96, height: 96, channels: 3, background: "red" } })
  .png()
  .toBuffer();

describe("a server with its pictures in a bucket", () => {
  let server: S3Server;
  let worker: FakeWorker;
  let app: TestApp;

  beforeAll(async () => {
    server = await new S3Server().start();
    worker = new FakeWorker();
    app = await createTestApp({ workers: worker }, server.environment);
    await skipPauses(app.db);
  });
  afterEach(() => expectBalancedLedger(app.db));
  afterAll(async () => {
    await app.stop();
    await server.stop();
  });

  const outcomes = async (id: string): Promise<string[]> =>
    (await app.member.generation(id)).attempts.map(({ outcome }: { outcome: string }) => outcome);
  const drawn = async (prompt: string): Promise<string> => {
    const id = await app.member.create({ prompt });
    await (await worker.nextCall()).started().succeed();
    expect((await app.member.finished(id)).state).toBe("SUCCEEDED");
    return id;
  };
  const linkOf = async (id: string): Promise<string> => {
    const query = "query($id: ID!) { generation(id: $id) { images { url(variant: W256) } } }";
    return (await app.member.query(query, { id })).generation.images[0].url;
  };

  test("draws into the bucket, and its links lead there", async () => {
    const link = await linkOf(await drawn("kept elsewhere"));
    const response = await fetch(link);
    expect([response.status, response.headers.get("content-type")]).toEqual([200, "image/webp"]);
    expect((await sharp(await response.arrayBuffer()).metadata()).format).toBe("webp");
    expect(server.objects.size).toBe(3);
    const folder = join(app.dataDir, "images");
    expect(existsSync(folder) ? readdirSync(folder) : []).toEqual([]);
  });

  test("gives an attempt back whose picture cannot be stored, and repeats it from its checkpoint", async () => {
    server.failures = Number.POSITIVE_INFINITY;
    const id = await app.member.create({ prompt: "the bucket is away" });
    await (await worker.nextCall()).started().checkpoint(17).succeed();
    await expect.poll(async () => (await outcomes(id))[0]).toBe("RETURNED");
    server.failures = 0;
    const second = await worker.nextCall();
    expect(second.request.resumeFrom?.stepsDone).toBe(17);
    await second.started(17).succeed();
    expect((await app.member.finished(id)).state).toBe("SUCCEEDED");
    expect(await outcomes(id)).toEqual(["RETURNED", "SUCCEEDED"]);
    expect((await fetch(await linkOf(id))).status).toBe(200);
  });

  test("answers 503 while the bucket is away, and an upload can be sent and finished again", async () => {
    const link = await linkOf(await drawn("read later"));
    const target = await createUpload(app.member, "PICTURE");
    server.isSilent = true;
    const [read, refused] = await Promise.all([fetch(link), send(target, PICTURE)]);
    expect([read.status, refused.status]).toEqual([503, 503]);
    expect(await refused.text()).toContain("Try again in a few seconds.");
    server.isSilent = false;
    expect((await fetch(link)).status).toBe(200);
    expect((await send(target, PICTURE)).status).toBe(204);
    server.failures = Number.POSITIVE_INFINITY;
    const early = await finishUpload(app.member, target.uploadId, sha256Of(PICTURE));
    expect(early.userErrors).toMatchObject([{ code: "UNAVAILABLE" }]);
    server.failures = 0;
    const { upload, userErrors } = await finishUpload(app.member, target.uploadId, sha256Of(PICTURE));
    expect([userErrors, upload.status]).toEqual([[], "READY"]);
  });

  test("sweeps what no attempt made visible, an hour later, and nothing else", async () => {
    await drawn("stays");
    const id = await app.member.create({ prompt: "cancelled", count: 2 });
    const call = (await worker.nextCall()).started();
    const value = { index: 0, size: { width: 96, height: 96 }, mimeType: "image/png", data: PICTURE };
    const before = server.objects.size;
    call.send({ $case: "image", value });
    await expect.poll(() => server.objects.size).toBe(before + 3);
    await app.member.query(CANCEL, { id });
    await app.member.finished(id);
    const { endpoint, bucket, region } = server;
    const place = { endpoint, publicEndpoint: undefined, bucket, region, isPathStyle: true, ...S3_KEY };
    const client = new S3Client({ ...place, timeoutMs: 5000, clock: systemClock, logger: createLogger("silent") });
    const { store: images, close } = await linkedStore(systemClock, (links) => new S3ImageStore(client, links));
    // One that has just swept waits.
    const sweep = () => new StorageSweep({ db: app.db, images, clock: systemClock }).runOnce();
    expect(await sweep()).toBe(0);
    server.pageSize = 2;
    const aged = new Date(Date.now() - 3_700_000);
    for (const object of server.objects.values()) object.lastModified = aged;
    expect(await sweep()).toBeGreaterThanOrEqual(1);
    expect([...server.objects.keys()].filter((key) => key.includes(call.request.leaseId))).toEqual([]);
    expect(await sweep()).toBe(0);
    expect(server.objects.size).toBe(before);
    await close();
  });
});
