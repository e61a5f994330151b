import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { asPlatform } from "../../src/platform/access.ts";
import { fromGlobalId } from "../../src/platform/ids.ts";
import { createLogger } from "../../src/platform/logger.ts";
import { QuotaService } from "../../src/quota/quota.service.ts";
import { StorageSweep } from "../../src/scheduler/storage-sweep.ts";
import { UploadExpiry } from "../../src/scheduler/upload-expiry.ts";
import { DiskImageStore } from "../../src/storage/disk-image-store.ts";
import { SignedLinks } from "../../src/storage/signed-links.ts";
import { UrlSigner } from "../../src/storage/url-signer.ts";
import { findUpload, type UploadRow } from "../../src/upload/upload.store.ts";
import { newFileFolder, openBatchFile, sentKey } from "../../src/upload/upload-files.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";
import { createUpload, send, upload } from "../support/uploads.ts";

describe("uploads that nobody finishes or uses", () => {
  let app: TestApp;
  let images: DiskImageStore;
  let expiry: UploadExpiry;
  const bytes = Buffer.from('{"prompt": "a star"}\n');

  beforeAll(async () => {
    app = await createTestApp({ workers: new FakeWorker(0) });
    const signer = new UrlSigner({ id: "test", secret: "" });
    const links = new SignedLinks({
      signer,
      clock: new FakeClock(),
      publicUrl: () => "",
      logger: createLogger("silent"),
    });
    images = new DiskImageStore({ folder: join(app.dataDir, "images"), links, logger: createLogger("silent") });
    expiry = new UploadExpiry({ db: app.db, images, quota: new QuotaService() });
  });
  afterAll(() => app.stop());

  const rowOf = (id: string): Promise<UploadRow | undefined> =>
    app.db.transaction(asPlatform, (tx) => findUpload(tx, fromGlobalId("Upload", id)));
  const age = (id: string, hours: number): Promise<unknown> =>
    app.db.transaction(
      asPlatform,
      (tx) => tx.$executeRaw`
        update upload set expires_at = now() - make_interval(hours => ${hours}::int) where id = ${fromGlobalId("Upload", id)}::uuid`,
    );
  const isKept = (folder: string): boolean => existsSync(join(app.dataDir, "images", folder));

  test("expire with their bytes, are told so for a week, and are forgotten", async () => {
    const kept = await upload(app.member, bytes, "BATCH");
    const unused = await upload(app.member, bytes, "BATCH");
    const waiting = await createUpload(app.member, "BATCH");
    await send(waiting, bytes);
    const folders = await Promise.all([kept.id, unused.id, waiting.uploadId].map(async (id) => (await rowOf(id))!));
    for (const id of [unused.id, waiting.uploadId]) await age(id, 1);
    expect(await expiry.runOnce()).toBe(2);
    expect(folders.map(({ storageKey }) => isKept(storageKey!))).toEqual([true, false, false]);
    expect(await rowOf(unused.id)).toMatchObject({ status: "EXPIRED", storageKey: null });
    expect(await rowOf(kept.id)).toMatchObject({ status: "READY" });
    for (const id of [unused.id, waiting.uploadId]) await age(id, 7 * 24 + 1);
    expect(await expiry.runOnce()).toBe(0);
    expect(await rowOf(unused.id)).toBeUndefined();
    expect(await rowOf(kept.id)).toBeDefined();
  });

  test("the storage sweep deletes what was sent and does not count, and nothing else", async () => {
    const ready = await upload(app.member, bytes, "BATCH");
    const waiting = await createUpload(app.member, "BATCH");
    await send(waiting, bytes);
    const [readyRow, waitingRow] = [(await rowOf(ready.id))!, (await rowOf(waiting.uploadId))!];
    const leftover = newFileFolder(waitingRow); // of a server that was killed before it wrote the row
    await images.put(sentKey(leftover), bytes);
    const tomorrow = new FakeClock();
    tomorrow.advance(Date.now() - tomorrow.now().getTime() + 24 * 3600_000);
    await new StorageSweep({ db: app.db, images, clock: tomorrow }).runOnce();
    expect([readyRow.storageKey!, waitingRow.storageKey!, leftover].map(isKept)).toEqual([true, true, false]);
    const chunks: Uint8Array[] = [];
    for await (const chunk of (await openBatchFile(images, { storageKey: readyRow.storageKey! }))!) chunks.push(chunk);
    expect(Buffer.concat(chunks)).toEqual(bytes);
  });
});
