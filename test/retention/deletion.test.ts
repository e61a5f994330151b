import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { asPlatform } from "../../src/platform/access.ts";
import { fromGlobalId } from "../../src/platform/ids.ts";
import { deleteImageRow } from "../../src/retention/deletion.store.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import { CREATE, type GraphqlClient, newInput } from "../support/graphql-client.ts";
import { rowsOfTenant } from "../support/tenant-rows.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";
import { until } from "../support/until.ts";

const DELETED = "deletedId userErrors { code message path retryable }";
const DELETE = `mutation($id: ID!) { result: deleteGeneration(id: $id) { ${DELETED} } }`;
const DELETE_IMAGE = `mutation($id: ID!, $reason: String) { result: deleteImage(id: $id, reason: $reason) { ${DELETED} } }`;
const HISTORY = "{ generations(first: 100, scope: MINE) { nodes { id } } }";
const CANCEL = "mutation($id: ID!) { cancelGeneration(id: $id) { userErrors { code } } }";
const SECRET = "a purple elephant";

describe("deleting", () => {
  let app: TestApp;
  let worker: FakeWorker;

  beforeAll(async () => {
    worker = new FakeWorker();
    app = await createTestApp({ workers: worker });
    const setLimit = `mutation($input: SetLimitInput!) { setLimit(input: $input) { userErrors { message } } }`;
    const input = { level: "TENANT", kind: "STORAGE_BYTES", max: "1000000000", reason: "to see what is stored" };
    expect((await app.owner.query(setLimit, { input })).setLimit.userErrors).toEqual([]);
  });
  afterAll(() => app.stop());

  const remove = async (client: GraphqlClient, id: string, mutation = DELETE) =>
    (await client.query(mutation, { id })).result;
  /** A generation with two pictures. */
  const draw = async (client: GraphqlClient, input = newInput({ prompt: SECRET, count: 2 })) => {
    const { createGeneration } = await client.query(CREATE, { input });
    const { id } = createGeneration.generation;
    const call = await worker.nextCall();
    await call.started().succeed();
    await client.finished(id);
    return client.generation(id);
  };
  const stored = async (): Promise<number> => {
    const { limits } = await app.owner.query("{ limits { kind used } }");
    return Number(limits.find(({ kind }: any) => kind === "STORAGE_BYTES").used);
  };
  const codeOf = async (client: GraphqlClient, id: string) =>
    (await client.send("query($id: ID!) { generation(id: $id) { id } }", { id })).errors?.[0]?.extensions["code"];
  const rows = async () => {
    const { viewer } = await app.owner.query("{ viewer { tenant { id } } }");
    return rowsOfTenant(app.db, fromGlobalId("Tenant", viewer.tenant.id));
  };

  test("a generation takes its pictures, texts and storage along, and is gone for everybody", async () => {
    const before = await stored();
    const input = newInput({ prompt: SECRET, count: 2 });
    const { id, images, creditsCharged } = await draw(app.member, input);
    expect(await stored()).toBe(before + images[0].sizeBytes + images[1].sizeBytes);
    expect(JSON.stringify(await rows())).toContain(SECRET);

    expect(await remove(app.member, id)).toEqual({ deletedId: id, userErrors: [] });
    for (const { url } of images) expect((await fetch(url)).status).toBe(404);
    for (const client of [app.member, app.owner]) expect(await codeOf(client, id)).toBe("NOT_FOUND");
    const { generations } = await app.member.query(HISTORY);
    expect(generations.nodes.map((node: any) => node.id)).not.toContain(id);
    expect(JSON.stringify(await rows())).not.toContain(SECRET);
    expect(await stored()).toBe(before);

    const replayed = (await app.member.query(CREATE, { input })).createGeneration;
    expect(replayed.userErrors[0]).toMatchObject({ code: "IDEMPOTENCY_KEY_REUSED", path: ["input", "idempotencyKey"] });
    const ledger = "query($id: ID!) { ledger(filter: {generationId: $id}) { nodes { kind credits } } }";
    const [settled] = (await app.owner.query(ledger, { id })).ledger.nodes;
    expect(settled).toEqual({ kind: "SETTLE", credits: `-${creditsCharged}` });
  });

  test("twice is no error, and frees its storage once", async () => {
    const { id, images } = await draw(app.member);
    const [first, second] = images.map((image: any) => image.id);
    const before = await stored();
    expect(await remove(app.member, first, DELETE_IMAGE)).toEqual({ deletedId: first, userErrors: [] });
    const half = await stored();
    expect(half).toBe(before - images[0].sizeBytes);
    expect((await remove(app.member, first, DELETE_IMAGE)).userErrors).toEqual([]);
    await Promise.all([remove(app.member, id), remove(app.member, second, DELETE_IMAGE), remove(app.member, id)]);
    expect(await stored()).toBe(half - images[1].sizeBytes);
    expect((await remove(app.member, id)).userErrors).toEqual([]);
    expect((await remove(app.member, second, DELETE_IMAGE)).userErrors).toEqual([]);
    expect(await stored()).toBe(half - images[1].sizeBytes);
  });

  test("one picture leaves the others, and nothing starts from it any more", async () => {
    const { id, images } = await draw(app.member);
    await remove(app.member, images[0].id, DELETE_IMAGE);
    expect((await app.member.generation(id)).images).toMatchObject([{ id: images[1].id, index: 1 }]);
    expect((await fetch(images[0].url)).status).toBe(404);
    expect((await fetch(images[1].url)).status).toBe(200);
    const edit = { imageEdit: { image: { imageId: images[0].id }, instruction: "bluer" } };
    const input = { idempotencyKey: "from a deleted picture", task: edit };
    expect((await app.member.query(CREATE, { input })).createGeneration.userErrors[0].code).toBe("NOT_FOUND");
  });

  test("is refused until a generation has ended", async () => {
    const id = await app.member.create({ prompt: SECRET });
    const call = await worker.nextCall();
    const queued = await app.member.create({ prompt: SECRET });
    for (const open of [id, queued]) {
      const [error] = (await remove(app.member, open)).userErrors;
      expect(error).toMatchObject({ code: "NOT_DELETABLE", path: ["id"], retryable: true });
      expect(error.message).toContain("Cancel it with cancelGeneration");
    }
    await app.member.query(CANCEL, { id: queued });
    await app.member.query(CANCEL, { id });
    await call.hungUp;
    await app.member.finished(id);
    for (const ended of [id, queued]) expect((await remove(app.member, ended)).userErrors).toEqual([]);
  });

  test("of what others made is for administrators, and in the audit log", async () => {
    const { id, images } = await draw(app.member);
    const [admin, operator] = [await app.addMember("ADMIN"), await app.addMember("OPERATOR")];
    const colleague = await app.addMember("MEMBER");
    const stranger = await app.addMember("OWNER", { credits: 0n });
    for (const [client, code] of [
      [operator, "FORBIDDEN"],
      [colleague, "NOT_FOUND"],
      [stranger, "NOT_FOUND"],
    ] as const) {
      expect((await remove(client, id)).userErrors[0].code).toBe(code);
      expect((await remove(client, images[0].id, DELETE_IMAGE)).userErrors[0].code).toBe(code);
    }
    await admin.query(DELETE_IMAGE, { id: images[0].id, reason: "against our rules" });
    const { auditLog } = await app.owner.query(
      "{ auditLog(first: 100) { nodes { action targetId reason } } }", // the tenant's
    );
    const entry = { action: "generation:delete", targetId: images[0].id, reason: "against our rules" };
    expect(auditLog.nodes.at(-1)).toEqual(entry);
  });

  test("an item of a batch leaves its place", async () => {
    const create = "mutation($input: CreateBatchInput!) { createBatch(input: $input) { batch { id } } }";
    const items = [{ prompt: SECRET }, { prompt: "a star" }];
    const { createBatch } = await app.member.query(create, { input: { idempotencyKey: "deleted item", items } });
    for (const _ of items) await (await worker.nextCall()).started().succeed();
    const batch = async () => {
      const shown = "status textToImage { prompt } generation { id }";
      const text = `query($id: ID!) { batch(id: $id) { status items(first: 5) { nodes { ${shown} } } } }`;
      return (await app.member.query(text, { id: createBatch.batch.id })).batch;
    };
    await until(async () => expect((await batch()).status).toBe("FINISHED"));
    const [{ generation }] = (await batch()).items.nodes;
    await remove(app.member, generation.id);
    const [deleted, kept] = (await batch()).items.nodes;
    expect(deleted).toEqual({ status: "DELETED", textToImage: { prompt: "" }, generation: null });
    expect(kept).toMatchObject({ status: "SUCCEEDED", textToImage: { prompt: "a star" } });
  });

  test("that died between row and bytes is finished by the next start", async () => {
    const { images } = await draw(app.member);
    const ids: string[] = images.map(({ id }: any) => fromGlobalId("Image", id));
    const marked = await app.db.transaction(asPlatform, async (tx) => [
      ...(await deleteImageRow(tx, ids[0]!)),
      ...(await deleteImageRow(tx, ids[1]!)),
    ]);
    const folders = marked.map(({ storageKey }) => join(app.dataDir, "images", storageKey));
    expect(folders.map((folder) => existsSync(folder))).toEqual([true, true]);
    const { dataDir } = app;
    await app.stop({ keepData: true });
    worker = new FakeWorker();
    app = await createTestApp({ workers: worker }, { DATA_DIR: dataDir });
    await until(() => expect(folders.map((folder) => existsSync(folder))).toEqual([false, false]));
  });
});
