import { existsSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { asPlatform } from "../../src/platform/access.ts";
import { fromGlobalId } from "../../src/platform/ids.ts";
import { createLogger } from "../../src/platform/logger.ts";
import { QuotaService } from "../../src/quota/quota.service.ts";
import { ImagePurge } from "../../src/retention/image-purge.ts";
import { RetentionDuty } from "../../src/retention/retention-duty.ts";
import { UploadExpiry } from "../../src/scheduler/upload-expiry.ts";
import { DiskImageStore } from "../../src/storage/disk-image-store.ts";
import { SignedLinks } from "../../src/storage/signed-links.ts";
import { UrlSigner } from "../../src/storage/url-signer.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import { CREATE, type GraphqlClient, newInput } from "../support/graphql-client.ts";
import { rowsOfTenant } from "../support/tenant-rows.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";
import { until } from "../support/until.ts";
import { createUpload, finishUpload, send, sha256Of, upload } from "../support/uploads.ts";

const RETENTION = "retention { outputsDays inputsDays promptsDays }";
const SET = `mutation($input: SetRetentionInput!) {
  result: setRetention(input: $input) { tenant { etag ${RETENTION} } userErrors { code path ... on VersionError { currentEtag } } }
}`;
const SET_LIMIT = "mutation($input: SetLimitInput!) { result: setLimit(input: $input) { userErrors { message } } }";
const SECRET = "a purple elephant";

describe("retention", () => {
  let app: TestApp;
  let worker: FakeWorker;
  let duty: RetentionDuty;
  let expiry: UploadExpiry;
  let png: Buffer;

  beforeAll(async () => {
    worker = new FakeWorker();
    app = await createTestApp({ workers: worker });
    await limitStorage("1000000000");
    const signer = new UrlSigner({ id: "test", secret: "" });
    const links = new SignedLinks({
      signer,
      clock: new FakeClock(),
      publicUrl: () => "",
      logger: createLogger("silent"),
    });
    const images = new DiskImageStore({ folder: join(app.dataDir, "images"), links, logger: createLogger("silent") });
    const services = { db: app.db, images, logger: createLogger("silent"), quota: new QuotaService() };
    duty = new RetentionDuty({ ...services, purge: new ImagePurge(services) });
    expiry = new UploadExpiry(services);
    png = await sharp({ create: { width: 32, height: 32, channels: 3, background: "red" } })
      .png()
      .toBuffer();
  });
  afterAll(() => app.stop());

  const limitStorage = async (max: string) => {
    const input = { level: "TENANT", kind: "STORAGE_BYTES", max, reason: "to see what is stored" };
    expect((await app.owner.query(SET_LIMIT, { input })).result.userErrors).toEqual([]);
  };
  const set = async (input: object, client: GraphqlClient = app.owner) =>
    (await client.query(SET, { input: { reason: "our rules", ...input } })).result;
  const draw = async (task: object) => {
    const id = await app.member.createTask(task);
    const call = (await worker.nextCall()).started();
    if ("imageToText" in task) call.words(1, { offset: 0, text: "It is red." });
    await call.succeed();
    await app.member.finished(id);
    return app.member.generation(id);
  };
  const stored = async (): Promise<number> => {
    const { limits } = await app.owner.query("{ limits { kind used } }");
    return Number(limits.find(({ kind }: any) => kind === "STORAGE_BYTES").used);
  };
  /** Everything there is becomes older by that many days. */
  const age = (days: number) =>
    app.db.transaction(asPlatform, async (tx) => {
      for (const [table, ...columns] of [
        ["generation", "created_at", "finished_at"],
        ["batch", "created_at", "finished_at"],
        ["image", "created_at"],
        ["upload", "created_at"],
        ["idempotency_record", "created_at"],
      ]) {
        const changes = columns.map((column) => `${column} = ${column} - interval '${days} days'`);
        await tx.$executeRawUnsafe(`update ${table} set ${changes.join()}`);
      }
    });
  const rows = async () => {
    const { viewer } = await app.owner.query("{ viewer { tenant { id } } }");
    return rowsOfTenant(app.db, fromGlobalId("Tenant", viewer.tenant.id));
  };

  const tablesWith = async (text: string): Promise<readonly string[]> => {
    const tables = Object.entries(await rows());
    return tables.flatMap(([name, content]) => (content?.includes(text) ? [name] : []));
  };

  test("is set by administrators, as they saw it, and in the audit log", async () => {
    const { tenant } = await set({ outputsDays: 30, promptsDays: 7 });
    expect(tenant.retention).toEqual({ outputsDays: 30, inputsDays: null, promptsDays: 7 });
    const { viewer } = await app.member.query(`{ viewer { tenant { etag ${RETENTION} } } }`);
    expect(viewer.tenant).toEqual(tenant);
    await set({ inputsDays: 9, ifMatch: tenant.etag });
    const [late] = (await set({ inputsDays: 10, ifMatch: tenant.etag })).userErrors;
    expect(late).toMatchObject({ code: "VERSION_MISMATCH", currentEtag: expect.any(String) });
    expect((await set({ promptsDays: 0 })).userErrors).toMatchObject([{ path: ["input", "promptsDays"] }]);
    expect((await set({}, app.member)).userErrors).toMatchObject([{ code: "FORBIDDEN" }]);
    const { auditLog } = await app.owner.query("{ auditLog { nodes { action reason before after } } }");
    expect(auditLog.nodes.at(-1)).toEqual({
      action: "retention:set",
      reason: "our rules",
      before: { outputsDays: 30, inputsDays: null, promptsDays: 7 },
      after: { outputsDays: null, inputsDays: 9, promptsDays: null },
    });
    await set({});
  });

  test("uploads count as stored from their finish to their end, and need room", async () => {
    const before = await stored();
    const { id } = await upload(app.member, png);
    const kept = (await stored()) - before;
    expect(kept).toBeGreaterThan(0);
    await app.db.transaction(
      asPlatform,
      (tx) => tx.$executeRaw`update upload set expires_at = now() where id = ${fromGlobalId("Upload", id)}::uuid`,
    );
    expect(await expiry.runOnce()).toBe(1);
    expect(await expiry.runOnce()).toBe(0);
    expect(await stored()).toBe(before);

    await limitStorage(String(before + kept - 1));
    const target = await createUpload(app.member, "PICTURE");
    await send(target, png);
    const [error] = (await finishUpload(app.member, target.uploadId, sha256Of(png))).userErrors;
    expect(error.code).toBe("QUOTA_EXHAUSTED");
    expect(await stored()).toBe(before);
    await limitStorage("1000000000");
    expect((await finishUpload(app.member, target.uploadId, sha256Of(png))).userErrors).toEqual([]);
    expect(await stored()).toBe(before + kept);
  });

  test("deletes outputs, inputs and prompts when their days are over, and nothing earlier", async () => {
    const source = await upload(app.member, png);
    const drawn = await draw({ textToImage: { prompt: SECRET, unconditionalPrompt: `not ${SECRET}` } });
    const edited = await draw({ imageEdit: { image: { uploadId: source.id }, instruction: SECRET } });
    const asked = await draw({ imageToText: { image: { imageId: drawn.images[0].id }, question: SECRET } });
    expect(asked.answer).toBe("It is red.");
    await set({ outputsDays: 2, inputsDays: 2, promptsDays: 2 });
    await age(1);
    expect(await duty.runOnce()).toEqual({ outputs: 0, inputs: 0, prompts: 0 });
    await age(1);
    const young = await draw({ textToImage: { prompt: "a star" } });
    expect(await duty.runOnce()).toMatchObject({ outputs: 3, prompts: 3 });
    await expiry.runOnce();
    expect(await duty.runOnce()).toEqual({ outputs: 0, inputs: 0, prompts: 0 });

    expect(await tablesWith(SECRET)).toEqual([]);
    const read = (id: string) => app.member.generation(id);
    expect(await read(drawn.id)).toMatchObject({ state: "SUCCEEDED", images: [], textToImage: { prompt: "" } });
    expect(await read(edited.id)).toMatchObject({ images: [], imageEdit: { instruction: "", uploadId: source.id } });
    expect(await read(asked.id)).toMatchObject({ answer: null, imageToText: { question: "" } });
    expect(await read(young.id)).toMatchObject({ textToImage: { prompt: "a star" }, images: [{ index: 0 }] });
    for (const url of [drawn.images[0].url, edited.images[0].url]) expect((await fetch(url)).status).toBe(404);
    expect((await fetch(young.images[0].url)).status).toBe(200);
    const folder = join(app.dataDir, "images", await tenantId(), fromGlobalId("Upload", source.id));
    expect(existsSync(folder)).toBe(false);
    expect(await stored()).toBe(young.images[0].sizeBytes);
    const { textsDeletedAt } = (
      await app.member.query("query($id: ID!) { generation(id: $id) { textsDeletedAt } }", { id: drawn.id })
    ).generation;
    expect(textsDeletedAt).toEqual(expect.any(String));
    await set({});
  });

  test("leaves no prompt of a batch, drawn or not, and no hash of one", async () => {
    const create = "mutation($input: CreateBatchInput!) { createBatch(input: $input) { batch { id } } }";
    const items = Array.from({ length: 300 }, (_, index) => ({ prompt: `${SECRET} ${index}` }));
    const input = { idempotencyKey: "a batch", items, defaults: { unconditionalPrompt: `not ${SECRET}` } };
    const { id } = (await app.member.query(create, { input })).createBatch.batch;
    await (await worker.nextCall()).started().succeed();
    const cancel = "mutation($id: ID!) { cancelBatch(id: $id) { userErrors { code } } }";
    await app.member.query(cancel, { id });
    await until(async () => {
      const { batch } = await app.member.query("query($id: ID!) { batch(id: $id) { status } }", { id });
      expect(batch.status).toBe("CANCELED");
    });
    await set({ promptsDays: 1 });
    await age(1);
    await duty.runOnce();
    expect(await tablesWith(SECRET)).toEqual([]);
    expect((await rows())["idempotency_record"]).not.toMatch(/[0-9a-f]{64}/);
    const again = (await app.member.query(CREATE, { input: newInput({ prompt: "a star" }) })).createGeneration;
    expect(again.userErrors).toEqual([]);
    await set({});
  });

  const tenantId = async () =>
    fromGlobalId("Tenant", (await app.owner.query("{ viewer { tenant { id } } }")).viewer.tenant.id);
});
