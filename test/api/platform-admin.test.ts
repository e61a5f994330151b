/** Administrators of the platform, as an operator makes them at the machine. */
import { spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { newSecret } from "../../src/auth/api-key.ts";
import { insertApiKey } from "../../src/auth/auth.store.ts";
import { asPlatform } from "../../src/platform/access.ts";
import { fromGlobalId } from "../../src/platform/ids.ts";
import { setPlatformAdmin } from "../../src/tenancy/platform-admin.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import { GraphqlClient } from "../support/graphql-client.ts";
import { copyTemplate } from "../support/template-data.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";

const email = "ada@example.org";

describe("an administrator of the platform", () => {
  let app: TestApp;
  let userId: string;
  let tenantId: string;

  beforeAll(async () => {
    app = await createTestApp({ workers: new FakeWorker() });
    const add = `mutation { addMember(input: { name: "Ada", email: "${email}", role: MEMBER }) { member { user { id } } } }`;
    userId = fromGlobalId("User", (await app.owner.query(add)).addMember.member.user.id, []);
    tenantId = fromGlobalId("Tenant", (await app.owner.query("{ viewer { tenant { id } } }")).viewer.tenant.id, []);
  });
  afterAll(() => app.stop());

  /** A key of hers, however it came about. */
  async function keyOfHers(scopes?: readonly ("PLATFORM_ADMIN" | "GENERATION_READ")[]): Promise<GraphqlClient> {
    const secret = newSecret();
    await app.db.transaction(asPlatform, (tx) =>
      insertApiKey(tx, { tenantId, userId, name: "key", secret, scopes: scopes ?? null }),
    );
    return new GraphqlClient(app.credentials.url, secret);
  }
  const set = (isPlatformAdmin: boolean) =>
    setPlatformAdmin(app.db, { email: "Ada@Example.org", isPlatformAdmin, reason: "on call" });
  /** What comes of a use of the rights, and of one that members have. */
  async function codesOf(client: GraphqlClient): Promise<readonly unknown[]> {
    const queries = ["{ tenants(first: 1) { nodes { id } } }", "{ generations(first: 1) { nodes { id } } }"];
    const answers = await Promise.all(queries.map((query) => client.send(query)));
    return answers.map(({ errors }) => errors?.[0]?.extensions["code"] ?? "OK");
  }

  test("is made and unmade, with a reason in the platform's audit log; older keys get nothing by it", async () => {
    const unlimited = await keyOfHers();
    const narrow = await keyOfHers(["GENERATION_READ"]);
    const forTheDay = await keyOfHers(["PLATFORM_ADMIN", "GENERATION_READ"]);
    expect(await codesOf(unlimited)).toEqual(["FORBIDDEN", "OK"]);

    expect([await set(true), await set(true)]).toEqual([true, false]);
    expect(await codesOf(unlimited)).toEqual(["FORBIDDEN", "OK"]);
    expect(await codesOf(narrow)).toEqual(["FORBIDDEN", "OK"]);
    expect(await codesOf(forTheDay)).toEqual(["UNAUTHENTICATED", "UNAUTHENTICATED"]);
    const later = await keyOfHers();
    expect(await codesOf(later)).toEqual(["OK", "OK"]);

    expect([await set(false), await set(false)]).toEqual([true, false]);
    expect(await codesOf(later)).toEqual(["FORBIDDEN", "OK"]);
    const log = "{ auditLog(first: 100, scope: PLATFORM) { nodes { action actorId targetId reason before after } } }";
    const { nodes } = (await app.owner.query(log)).auditLog;
    expect(nodes.filter(({ action }: { action: string }) => action.startsWith("platformAdmin:"))).toMatchObject([
      { action: "platformAdmin:grant", reason: "on call", after: { isPlatformAdmin: true } },
      { action: "platformAdmin:revoke", reason: "on call", after: { isPlatformAdmin: false } },
    ]);
  });
});

test("the program that makes them says what it cannot do", () => {
  const folder = copyTemplate(inject("templateData"));
  const run = (...words: readonly string[]) => {
    const { NODE_ENV: _, ...inherited } = process.env;
    const env = { ...inherited, DATA_DIR: folder, DATABASE_URL: "" };
    const { status, stderr } = spawnSync(process.execPath, ["dist/src/platform-admin.js", ...words], { env });
    return { status, said: String(stderr) };
  };
  expect(run("grant", email)).toEqual({ status: 1, said: expect.stringContaining("usage: ") });
  expect(run("grant", email, "on call")).toEqual({
    status: 1,
    said: `atelier: Nobody here has the address ${email}. Add them to a tenant first: addMember.\n`,
  });
  rmSync(folder, { recursive: true, force: true });
});
