import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FakeWorker } from "../support/fake-worker.ts";
import type { GraphqlClient } from "../support/graphql-client.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";

const EXPORT = `mutation($input: ExportTenantInput!) { result: exportTenant(input: $input) { url userErrors { code } } }`;

describe("the archive of a tenant", () => {
  let app: TestApp;
  let folder: string;
  let url: string;
  let drawn: any;
  const secret = "of the other tenant";

  beforeAll(async () => {
    const worker = new FakeWorker();
    app = await createTestApp({ workers: worker });
    const draw = async (client: GraphqlClient, prompt: string) => {
      const id = await client.create({ prompt });
      await (await worker.nextCall()).started().succeed();
      await client.finished(id);
      return client.generation(id);
    };
    drawn = await draw(app.member, "a red circle");
    const deleted = await draw(app.member, "a deleted circle");
    await app.member.query("mutation($id: ID!) { deleteGeneration(id: $id) { deletedId } }", { id: deleted.id });
    await draw(await app.addMember("OWNER", { credits: 10_000_000n }), secret);
    const many = Array.from({ length: 450 }, (_, i) => ({ prompt: `item ${i}` })); // three files of items
    const create =
      "mutation($input: CreateBatchInput!) { createBatch(input: $input) { batch { id } userErrors { code } } }";
    await app.member.query(create, { input: { idempotencyKey: "many", items: many } });

    ({ url } = (await app.owner.query(EXPORT, { input: { reason: "moving out" } })).result);
    folder = mkdtempSync(join(tmpdir(), "atelier-export-"));
    const archive = Buffer.from(await (await fetch(url)).arrayBuffer());
    expect(archive.includes(secret)).toBe(false);
    execFileSync("tar", ["-x", "-C", folder], { input: archive });
  });
  afterAll(async () => {
    rmSync(folder, { recursive: true, force: true });
    await app.stop();
  });

  const rows = (name: string): any[] =>
    readdirSync(join(folder, name))
      .sort()
      .flatMap((file) =>
        readFileSync(join(folder, name, file), "utf8")
          .trimEnd()
          .split("\n"),
      )
      .map((line) => JSON.parse(line));

  test("has its rows under the ids of the API, and no secrets", async () => {
    expect(JSON.parse(readFileSync(join(folder, "tenant.json"), "utf8"))).toMatchObject({ name: "Atelier" });
    const generations = rows("generations");
    expect(generations.find(({ id }) => id === drawn.id)).toMatchObject({
      state: "SUCCEEDED",
      settings: { prompt: "a red circle" },
      milestones: [{ seq: 1 }, { seq: 2 }, { seq: 3 }],
    });
    expect(JSON.stringify(generations)).not.toContain("a deleted circle");
    const items = rows("batch_items");
    expect(items.map(({ index }) => index)).toEqual(Array.from({ length: 450 }, (_, index) => index));
    expect(items[449].batchId).toBe(rows("batches")[0].id);
    expect(
      rows("members")
        .map(({ role }) => role)
        .sort(),
    ).toEqual(["MEMBER", "OWNER"]);
    expect(rows("api_keys")[0]).not.toHaveProperty("hash");
    expect(rows("ledger").map(({ kind }) => kind)).toContain("SETTLE");
    expect(rows("usage").reduce((sum, { ended }) => sum + ended, 0)).toBe(2);
  });

  test("has its pictures as they are", async () => {
    const picture = readFileSync(join(folder, "images", drawn.id, "0.png"));
    expect(picture).toEqual(Buffer.from(await (await fetch(drawn.images[0].url)).arrayBuffer()));
    expect(readdirSync(join(folder, "images"))).toEqual([drawn.id]);
  });

  test("is for administrators, and noted in the audit log", async () => {
    expect(rows("audit_log").at(-1)).toMatchObject({
      action: "tenant:export",
      reason: "moving out",
      hash: expect.any(String),
    });
    const refused = (await app.member.query(EXPORT, { input: { reason: "curious" } })).result;
    expect(refused).toEqual({ url: null, userErrors: [{ code: "FORBIDDEN" }] });
    expect((await fetch(url.replace("signature=", "signature=x"))).status).toBe(403);
  });
});
