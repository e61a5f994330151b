import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { asPlatform } from "../../src/platform/access.ts";
import { fromGlobalId } from "../../src/platform/ids.ts";
import { closeTenant } from "../../src/retention/tenant-erasure.store.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import { GraphqlClient } from "../support/graphql-client.ts";
import { rowsOfTenant } from "../support/tenant-rows.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";
import { until } from "../support/until.ts";
import { upload } from "../support/uploads.ts";

const CREATE = `mutation($input: CreateTenantInput!) { result: createTenant(input: $input) { secret tenant { id etag } } }`;
const GRANT = "mutation($input: ChangeCreditsInput!) { result: grantCredits(input: $input) { userErrors { code } } }";
const ERASE = `mutation($input: EraseTenantInput!) {
  result: eraseTenant(input: $input) { tenant { id name erasedAt } userErrors { code path } }
}`;
const RESUME = "mutation($input: SuspendTenantInput!) { result: resumeTenant(input: $input) { userErrors { code } } }";
const BATCH = "mutation($input: CreateBatchInput!) { createBatch(input: $input) { userErrors { code } } }";
const NAME = "Short-lived";
const reason = "the contract has ended";

describe("erasing a tenant", () => {
  let app: TestApp;
  let worker: FakeWorker;

  beforeAll(async () => {
    worker = new FakeWorker();
    app = await createTestApp({ workers: worker });
  });
  afterAll(() => app.stop());

  const act = async (mutation: string, input: object, client = app.owner) =>
    (await client.query(mutation, { input })).result;
  /** With a picture, an upload, a batch, and something that runs. */
  const newTenant = async () => {
    const made = await act(CREATE, { name: NAME, owner: { name: "Ada", email: "ada@example.org" }, withApiKey: true });
    const owner = new GraphqlClient(app.credentials.url, made.secret);
    await act(GRANT, { tenantId: made.tenant.id, credits: "1000", reason: "to try" });
    const drawn = await owner.create({ prompt: "a star" });
    await (await worker.nextCall()).started().succeed();
    await owner.finished(drawn);
    await upload(owner, Buffer.from('{"prompt": "a star"}\n'), "BATCH");
    await owner.create({ prompt: "a long work" });
    const call = (await worker.nextCall()).started();
    await owner.query(BATCH, { input: { idempotencyKey: "batch", items: [{ prompt: "one" }, { prompt: "two" }] } });
    return { id: made.tenant.id, uuid: fromGlobalId("Tenant", made.tenant.id), owner, drawn, call };
  };
  const tablesOf = async (uuid: string) => {
    const rows = Object.entries(await rowsOfTenant(app.db, uuid));
    return rows.flatMap(([table, content]) => (content === null ? [] : [table])).sort();
  };
  const isGone = async (uuid: string) => {
    await until(async () => expect(await tablesOf(uuid)).toEqual(["audit_head", "tenant"]));
    await until(() => expect(existsSync(join(app.dataDir, "images", uuid))).toBe(false));
    const people = await app.db.transaction(asPlatform, (tx) => tx.user.count({ where: { email: "ada@example.org" } }));
    expect(people).toBe(0);
  };

  test("ends its members' access at once, cancels what runs, and leaves no row or byte", async () => {
    const { id, uuid, owner, drawn, call } = await newTenant();
    const { images } = await owner.generation(drawn);
    expect((await act(ERASE, { id, name: "Something else", reason })).userErrors).toEqual([
      { code: "INVALID_INPUT", path: ["input", "name"] },
    ]);
    expect((await act(ERASE, { id, name: NAME, reason }, owner)).userErrors[0].code).toBe("FORBIDDEN");

    const { tenant } = await act(ERASE, { id, name: NAME, reason });
    expect(tenant).toEqual({ id, name: "erased", erasedAt: expect.any(String) });
    const [error] = (await owner.send("{ viewer { role } }")).errors!;
    expect(error?.extensions["code"]).toBe("UNAUTHENTICATED");
    await call.hungUp;
    await isGone(uuid);
    expect((await fetch(images[0].url)).status).toBe(404);

    expect((await act(ERASE, { id, name: NAME, reason })).tenant.erasedAt).toBe(tenant.erasedAt);
    expect((await act(RESUME, { id, reason })).userErrors).toEqual([{ code: "NOT_FOUND" }]);
    const log = "{ auditLog(first: 100, scope: PLATFORM) { nodes { action targetId reason } } }";
    const { auditLog } = await app.owner.query(log);
    expect(auditLog.nodes.filter(({ action }: any) => action === "tenant:erase")).toEqual([
      { action: "tenant:erase", targetId: id, reason },
    ]);
  });

  test("goes on where a server died", async () => {
    const { uuid } = await newTenant();
    const { dataDir } = app;
    await app.db.transaction(asPlatform, (tx) => closeTenant(tx, uuid));
    await app.stop({ keepData: true });
    worker = new FakeWorker();
    app = await createTestApp({ workers: worker }, { DATA_DIR: dataDir });
    await isGone(uuid);
  });

  test("is refused for the tenant of the installation, whose records nobody can delete", async () => {
    const { viewer } = await app.owner.query("{ viewer { tenant { id name } } }");
    expect((await act(ERASE, { ...viewer.tenant, reason })).userErrors[0]).toEqual({
      code: "INVALID_INPUT",
      path: ["input", "id"],
    });
    const uuid = fromGlobalId("Tenant", viewer.tenant.id);
    const records = app.db.transaction(asPlatform, (tx) => tx.$queryRaw`select erase_records(${uuid}::uuid, 1)`);
    await expect(records).rejects.toThrow("not erased");
  });
});
