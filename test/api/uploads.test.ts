import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { findPrincipal } from "../../src/auth/auth.store.ts";
import { asPlatform } from "../../src/platform/access.ts";
import { fromGlobalId } from "../../src/platform/ids.ts";
import { createLogger } from "../../src/platform/logger.ts";
import { QuotaService } from "../../src/quota/quota.service.ts";
import { DiskImageStore } from "../../src/storage/disk-image-store.ts";
import { SignedLinks } from "../../src/storage/signed-links.ts";
import { UrlSigner } from "../../src/storage/url-signer.ts";
import { PictureNormaliser } from "../../src/upload/picture-normaliser.ts";
import { UploadService } from "../../src/upload/upload.service.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import type { GraphqlClient } from "../support/graphql-client.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";
import { until } from "../support/until.ts";
import {
  CREATE_UPLOAD,
  createUpload,
  finishUpload,
  send,
  sha256Of,
  startSending,
  UPLOAD,
  upload,
} from "../support/uploads.ts";

const picture = (background = "red"): Promise<Buffer> =>
  sharp({ create: { width: 30, height: 20, channels: 3, background } })
    .png()
    .toBuffer();

describe("uploads", () => {
  let app: TestApp;
  let member: GraphqlClient;
  let red: Buffer;
  const clock = new FakeClock();

  beforeAll(async () => {
    app = await createTestApp({ workers: new FakeWorker(0), clock });
    member = app.member;
    red = await picture();
  });
  afterAll(() => app.stop());

  /** Every file that is kept of an upload, and every folder without one. */
  const filesOf = (uploadId: string): readonly string[] => {
    const images = join(app.dataDir, "images");
    const tenants = existsSync(images) ? readdirSync(images).map((tenant) => join(images, tenant)) : [];
    const folders = tenants.map((tenant) => join(tenant, fromGlobalId("Upload", uploadId))).filter(existsSync);
    return folders
      .flatMap((folder) => readdirSync(folder).map((name) => join(folder, name)))
      .flatMap((folder) => (readdirSync(folder).length === 0 ? [folder] : readdirSync(folder)));
  };
  const expire = (uploadId: string): Promise<unknown> =>
    app.db.transaction(
      asPlatform,
      (tx) => tx.$executeRaw`
        update upload set expires_at = now() - interval '1 second' where id = ${fromGlobalId("Upload", uploadId)}::uuid`,
    );
  const refusalOf = async (uploadId: string, sha256: string, client = member): Promise<any> => {
    const { upload: finished, userErrors } = await finishUpload(client, uploadId, sha256);
    expect(finished).toBeNull();
    expect(userErrors).toHaveLength(1);
    return userErrors[0];
  };

  test("a picture is sent, finished, and kept as it is shown", async () => {
    const target = await createUpload(member, "PICTURE");
    expect(target).toMatchObject({ method: "PUT", maxBytes: 20_000_000 });
    expect(target.uploadId).toMatch(/^upl_/);
    const jpeg = await sharp(red).withMetadata({ orientation: 6 }).jpeg({ quality: 100 }).toBuffer();
    expect((await send(target, jpeg)).status).toBe(204);
    const { upload: finished, userErrors } = await finishUpload(member, target.uploadId, sha256Of(jpeg));
    expect(userErrors).toEqual([]);
    expect(finished).toMatchObject({
      id: target.uploadId,
      purpose: "PICTURE",
      status: "READY",
      sizeBytes: jpeg.length,
      sha256: sha256Of(jpeg),
      width: 20,
      height: 30,
    });
    const kept = await (await fetch(finished.url)).arrayBuffer();
    const { format, width, height, exif, orientation } = await sharp(kept).metadata();
    expect({ format, width, height, exif, orientation }).toEqual({ format: "png", width: 20, height: 30 });
    expect(filesOf(target.uploadId)).toEqual(["original.png"]);
  });

  test("the items of a batch are kept as they were sent", async () => {
    const bytes = Buffer.from('[{"prompt": "a red circle"}]');
    const finished = await upload(member, bytes, "BATCH");
    expect(finished).toMatchObject({ purpose: "BATCH", status: "READY", width: null, url: null });
    expect(filesOf(finished.id)).toEqual(["sent.bin"]);
  });

  test("finishing twice answers the same, also at the same time", async () => {
    const target = await createUpload(member, "PICTURE");
    await send(target, red);
    const finish = () => finishUpload(member, target.uploadId, sha256Of(red));
    const answers = await Promise.all([finish(), finish(), finish()]);
    for (const { upload: finished, userErrors } of [...answers, await finish()]) {
      expect(userErrors).toEqual([]);
      expect({ ...finished, url: null }).toEqual({ ...answers[0].upload, url: null });
    }
    expect(filesOf(target.uploadId)).toEqual(["original.png"]);
  });

  test("a file may be sent again until the upload is finished: the last one counts", async () => {
    const target = await createUpload(member, "PICTURE");
    const blue = await picture("blue");
    await send(target, red);
    await send(target, blue);
    expect(filesOf(target.uploadId)).toEqual(["sent.bin"]);
    expect((await refusalOf(target.uploadId, sha256Of(red))).message).toContain(sha256Of(blue));
    expect((await finishUpload(member, target.uploadId, sha256Of(blue))).userErrors).toEqual([]);
    const late = await send(target, red);
    expect([late.status, await late.text()]).toEqual([
      409,
      "This upload is finished, and no longer changes. Make another one with createUpload.\n",
    ]);
    expect(await refusalOf(target.uploadId, sha256Of(red))).toMatchObject({
      message: expect.stringContaining("It is finished: make another one with createUpload."),
      path: ["sha256"],
    });
  });

  test("a file that is sent while an earlier one is being finished wins, and nothing of the earlier one is kept", async () => {
    const blue = await picture("blue");
    const target = await createUpload(member, "PICTURE");
    await send(target, red);
    const signer = new UrlSigner({ id: "test", secret: "" });
    const links = new SignedLinks({ signer, clock, publicUrl: () => "", logger: createLogger("silent") });
    const images = new DiskImageStore({ folder: join(app.dataDir, "images"), links, logger: createLogger("silent") });
    const read = images.get.bind(images);
    images.get = async (key) => {
      const bytes = await read(key);
      await send(target, blue);
      return bytes;
    };
    const normaliser = new PictureNormaliser({ program: "dist/src/upload/normalise-picture.js" });
    const service = new UploadService({ db: app.db, images, links, normaliser, quota: new QuotaService() });
    const principal = await app.db.transaction(asPlatform, (tx) => findPrincipal(tx, app.credentials.apiKey));
    const finished = service.finish(principal!, target.uploadId, sha256Of(red));
    await expect(finished).rejects.toThrow(`has the SHA-256 ${sha256Of(blue)}`);
    expect(filesOf(target.uploadId)).toEqual(["sent.bin"]);
    expect((await finishUpload(member, target.uploadId, sha256Of(blue))).upload.status).toBe("READY");
  });

  test("a file that arrives after an earlier one was finished is refused, and not kept", async () => {
    const target = await createUpload(member, "PICTURE");
    await send(target, red);
    const late = startSending(target, 10);
    await until(() => expect(filesOf(target.uploadId)).toHaveLength(2));
    expect((await finishUpload(member, target.uploadId, sha256Of(red))).upload.status).toBe("READY");
    const answer = new Promise<Buffer>((resolve) => late.once("data", resolve));
    late.write("x".repeat(5));
    expect((await answer).toString("utf8")).toMatch(/^HTTP\/1\.1 409 /);
    late.destroy();
    expect(filesOf(target.uploadId)).toEqual(["original.png"]);
  });

  test("a file that is gone is asked for again", async () => {
    const target = await createUpload(member, "PICTURE");
    await send(target, red);
    const { tenantId } = await app.db.transaction(asPlatform, (tx) =>
      tx.upload.findUniqueOrThrow({ where: { id: fromGlobalId("Upload", target.uploadId) } }),
    );
    rmSync(join(app.dataDir, "images", tenantId, fromGlobalId("Upload", target.uploadId)), { recursive: true });
    expect((await refusalOf(target.uploadId, sha256Of(red))).message).toBe(
      "The file that was sent is gone. Send it again.",
    );
    await send(target, red);
    expect((await finishUpload(member, target.uploadId, sha256Of(red))).upload.status).toBe("READY");
  });

  test("another SHA-256 is refused, and the file can be sent again", async () => {
    const target = await createUpload(member, "PICTURE");
    await send(target, red.subarray(0, 40));
    expect(await refusalOf(target.uploadId, sha256Of(red))).toEqual({
      code: "INVALID_INPUT",
      message: `What was sent, 40 bytes, has the SHA-256 ${sha256Of(red.subarray(0, 40))}, not ${sha256Of(red)}. Send the file again.`,
      path: ["sha256"],
    });
    await send(target, red);
    const { upload: finished } = await finishUpload(member, target.uploadId, sha256Of(red).toUpperCase());
    expect(finished.status).toBe("READY");
  });

  test("what is no picture is refused, and another file can be sent", async () => {
    const target = await createUpload(member, "PICTURE");
    const html = Buffer.from("<html><script>alert(1)</script></html>");
    await send(target, html);
    expect(await refusalOf(target.uploadId, sha256Of(html))).toEqual({
      code: "INVALID_INPUT",
      message: "This is no picture that is taken. Send a JPEG, PNG, WebP, GIF, TIFF or AVIF file.",
      path: ["id"],
    });
    await send(target, red);
    expect((await finishUpload(member, target.uploadId, sha256Of(red))).upload.status).toBe("READY");
  });

  test("finishing needs a file, and a SHA-256", async () => {
    const { uploadId } = await createUpload(member, "PICTURE");
    expect(await refusalOf(uploadId, sha256Of(red))).toMatchObject({
      message: "No file was sent yet. Send it to the URL that createUpload gave first.",
      path: ["id"],
    });
    expect(await refusalOf(uploadId, "abc")).toMatchObject({
      message: "sha256 is not 64 hexadecimal digits.",
      path: ["sha256"],
    });
  });

  test("a file that is too large is refused before it is stored, or sent", async () => {
    const { createUpload: payload } = await member.query(CREATE_UPLOAD, {
      input: { purpose: "PICTURE", sizeBytes: 20_000_001 },
    });
    expect(payload).toEqual({
      target: null,
      userErrors: [
        {
          code: "INVALID_INPUT",
          message: "The file has 20000001 bytes; 1 to 20000000 are taken.",
          path: ["input", "sizeBytes"],
        },
      ],
    });
    const target = await createUpload(member, "PICTURE");
    const response = await send(target, Buffer.alloc(20_000_001));
    expect([response.status, await response.text()]).toEqual([
      413,
      "The file has 20000001 bytes; up to 20000000 are taken.\n",
    ]);
    expect(filesOf(target.uploadId)).toEqual([]);
  });

  test("a file without a length, or without bytes, is refused", async () => {
    const target = await createUpload(member, "PICTURE");
    const stream = new Blob([red]).stream();
    const chunked = await fetch(target.url, { method: "PUT", body: stream, duplex: "half" } as RequestInit);
    expect([chunked.status, await chunked.text()]).toEqual([
      411,
      "Say how long the file is, with a Content-Length header.\n",
    ]);
    expect((await send(target, Buffer.alloc(0))).status).toBe(400);
    expect(filesOf(target.uploadId)).toEqual([]);
  });

  test("links work as they are, for sending, and until they expire", async () => {
    const target = await createUpload(member, "PICTURE");
    const other = await createUpload(member, "PICTURE");
    const swapped = target.url.replace(new URL(target.url).pathname, new URL(other.url).pathname);
    const longer = target.url.replace(/expires=\d+/, "expires=9999999999");
    for (const url of [swapped, longer, target.url.split("?")[0]])
      expect((await send({ ...target, url }, red)).status).toBe(403);
    for (const method of ["GET", "DELETE"]) expect((await fetch(target.url, { method })).status).toBe(405);
    const preflight = await fetch(target.url, { method: "OPTIONS" });
    expect([preflight.status, preflight.headers.get("access-control-allow-methods")]).toEqual([204, "PUT"]);
    clock.advance(3601_000);
    expect((await send(target, red)).status).toBe(410);
    expect([target, other].flatMap(({ uploadId }) => filesOf(uploadId))).toEqual([]);
  });

  test("an upload that was not finished in time is refused, whoever comes late", async () => {
    const target = await createUpload(member, "PICTURE");
    await send(target, red);
    await expire(target.uploadId);
    const late = await send(target, red);
    expect([late.status, await late.text()]).toEqual([
      410,
      "This upload has expired. Make another one with createUpload.\n",
    ]);
    expect(await refusalOf(target.uploadId, sha256Of(red))).toMatchObject({
      message: "This upload has expired. Make another one with createUpload.",
    });
    const { upload: shown } = await member.query(`query($id: ID!) { upload(id: $id) { ${UPLOAD} } }`, {
      id: target.uploadId,
    });
    expect(shown.status).toBe("EXPIRED");
  });

  test("a connection that is cut off leaves nothing, and the file can be sent again", async () => {
    const target = await createUpload(member, "PICTURE");
    const socket = startSending(target, 1000);
    await until(() => expect(filesOf(target.uploadId)).toHaveLength(1));
    socket.destroy();
    await until(() => expect(filesOf(target.uploadId)).toEqual([]));
    expect((await refusalOf(target.uploadId, sha256Of(red))).message).toContain("No file was sent yet.");
    expect((await send(target, red)).status).toBe(204);
    expect((await finishUpload(member, target.uploadId, sha256Of(red))).userErrors).toEqual([]);
  });

  test("a length that is too short is refused, and nothing is kept", async () => {
    const target = await createUpload(member, "BATCH");
    const socket = startSending(target, 4);
    const answer = new Promise<Buffer>((resolve) => socket.once("data", resolve));
    expect((await answer).toString("utf8")).toMatch(/^HTTP\/1\.1 400 /);
    socket.destroy();
    await until(() => expect(filesOf(target.uploadId)).toEqual([]));
    expect((await refusalOf(target.uploadId, sha256Of(red))).message).toContain("No file was sent yet.");
  });

  test("a member may have a hundred that nothing was made of, and others have theirs", async () => {
    const busy = await app.addMember("MEMBER");
    const first = await createUpload(busy, "PICTURE");
    await app.db.transaction(
      asPlatform,
      (tx) => tx.$executeRaw`
        insert into upload (id, tenant_id, user_id, purpose, expires_at)
        select gen_random_uuid(), tenant_id, user_id, purpose, expires_at from upload, generate_series(1, 99)
        where id = ${fromGlobalId("Upload", first.uploadId)}::uuid`,
    );
    const { createUpload: payload } = await busy.query(CREATE_UPLOAD, { input: { purpose: "PICTURE" } });
    expect(payload).toMatchObject({
      target: null,
      userErrors: [{ code: "QUOTA_EXHAUSTED", message: expect.stringContaining("You have 100 uploads") }],
    });
    await createUpload(member, "PICTURE");
    await expire(first.uploadId);
    await createUpload(busy, "PICTURE");
  });

  test("another's upload is as absent as none, and a viewer sends nothing", async () => {
    const { id } = await upload(member, red);
    const [stranger, colleague, viewer] = await Promise.all([
      app.addMember("OWNER", { credits: 1n }),
      app.addMember("MEMBER"),
      app.addMember("VIEWER"),
    ]);
    const shown = (client: GraphqlClient) => client.send("query($id: ID!) { upload(id: $id) { status } }", { id });
    for (const client of [stranger, colleague]) {
      expect(await refusalOf(id, sha256Of(red), client)).toMatchObject({
        code: "NOT_FOUND",
        message: `There is no upload "${id}".`,
      });
      expect((await shown(client)).errors?.[0]?.extensions["code"]).toBe("NOT_FOUND");
    }
    for (const client of [viewer, app.owner]) expect((await shown(client)).data.upload.status).toBe("READY");
    const { createUpload: payload } = await viewer.query(CREATE_UPLOAD, { input: { purpose: "PICTURE" } });
    expect(payload.userErrors[0].code).toBe("FORBIDDEN");
    expect((await refusalOf(id, sha256Of(red), viewer)).code).toBe("FORBIDDEN");
    expect(await refusalOf("upl_nonsense", sha256Of(red))).toMatchObject({ code: "NOT_FOUND" });
  });
});
