import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { asPlatform } from "../../src/platform/access.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import { CANCEL, CREATE, type GraphqlClient, newInput } from "../support/graphql-client.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";

describe("who sees and does what", () => {
  let app: TestApp;
  let stranger: GraphqlClient;
  let colleague: GraphqlClient;
  let viewer: GraphqlClient;
  let operator: GraphqlClient;
  let id: string;

  beforeAll(async () => {
    app = await createTestApp({ workers: new FakeWorker(0) });
    stranger = await app.addMember("OWNER", { credits: 1_000_000n });
    colleague = await app.addMember("MEMBER");
    viewer = await app.addMember("VIEWER");
    operator = await app.addMember("OPERATOR");
    id = await app.member.create({ prompt: "mine" });
  });
  afterAll(() => app.stop());

  const read = (client: GraphqlClient) => client.send("query($id: ID!) { generation(id: $id) { state } }", { id });

  test("another tenant's id is as absent as none: reading, cancelling, watching", async () => {
    expect((await read(stranger)).errors?.[0]?.extensions["code"]).toBe("NOT_FOUND");
    expect((await stranger.query(CANCEL, { id })).cancelGeneration.userErrors[0].code).toBe("NOT_FOUND");
    await expect(stranger.events(id).next()).rejects.toMatchObject({ extensions: { code: "NOT_FOUND" } });
    expect(
      (await stranger.query("{ generations(first: 10, scope: TENANT) { nodes { id } } }")).generations.nodes,
    ).toEqual([]);
  });

  test("a member sees own generations only", async () => {
    expect((await read(app.member)).data.generation.state).toBe("QUEUED");
    expect((await read(colleague)).errors?.[0]?.extensions["code"]).toBe("NOT_FOUND");
    const { errors } = await colleague.send("{ generations(first: 10, scope: TENANT) { nodes { id } } }");
    expect(errors?.[0]?.extensions["code"]).toBe("FORBIDDEN");
  });

  test("owners, operators and viewers read all of the tenant", async () => {
    for (const client of [app.owner, operator, viewer]) {
      expect((await read(client)).data.generation.state).toBe("QUEUED");
      const { generations } = await client.query("{ generations(first: 10, scope: TENANT) { nodes { id } } }");
      expect(generations.nodes).toContainEqual({ id });
    }
  });

  test("a viewer neither creates nor cancels", async () => {
    expect((await viewer.query(CREATE, { input: newInput({ prompt: "x" }) })).createGeneration.userErrors[0].code).toBe(
      "FORBIDDEN",
    );
    expect((await viewer.query(CANCEL, { id })).cancelGeneration.userErrors[0].code).toBe("FORBIDDEN");
  });

  test("an operator cancels what others made", async () => {
    expect((await operator.query(CANCEL, { id })).cancelGeneration.generation.state).toBe("CANCELED");
  });

  test("the viewer query says who one is", async () => {
    const { viewer: owner } = await app.owner.query(
      "{ viewer { role isPlatformAdmin tenant { name credits { granted } } } }",
    );
    expect(owner).toEqual({
      role: "OWNER",
      isPlatformAdmin: true,
      tenant: { name: "Atelier", credits: { granted: "1000000" } },
    });
    expect((await app.member.query("{ viewer { role isPlatformAdmin } }")).viewer).toEqual({
      role: "MEMBER",
      isPlatformAdmin: false,
    });
  });

  test("keys are stored as hashes only", async () => {
    const { apiKey, adminApiKey } = app.credentials;
    const dump = await app.db.transaction(
      asPlatform,
      (tx) => tx.$queryRaw<unknown[]>`select row_to_json(k) from api_key k`,
    );
    for (const secret of [apiKey, adminApiKey]) expect(JSON.stringify(dump)).not.toContain(secret);
  });
});
