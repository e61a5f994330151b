import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { asPlatform } from "../../src/platform/access.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import { CREATE, GraphqlClient, newInput } from "../support/graphql-client.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";

const KEY =
  "apiKey { id name prefix userId scopes allowedPresets expiresAt revokedAt lastUsedAt replacedById etag } secret";
const ERRORS =
  "userErrors { __typename code message path ... on VersionError { currentEtag } ... on PresetError { allowedPresets } }";
const CREATE_KEY = `mutation($input: CreateApiKeyInput!) { createApiKey(input: $input) { ${KEY} ${ERRORS} } }`;
const ROTATE = `mutation($input: RotateApiKeyInput!) { rotateApiKey(input: $input) { ${KEY} ${ERRORS} } }`;
const REVOKE = `mutation($input: RevokeApiKeyInput!) { revokeApiKey(input: $input) { apiKey { id revokedAt etag } ${ERRORS} } }`;
const KEYS = "query($ofTenant: Boolean!) { apiKeys(first: 100, ofTenant: $ofTenant) { nodes { id name } } }";
const ME = "{ viewer { role scopes user { id } apiKey { id lastUsedAt } } }";

describe("API keys", () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await createTestApp({ workers: new FakeWorker(0) });
  });
  afterAll(() => app.stop());

  const withKey = (secret: string) => new GraphqlClient(app.credentials.url, secret);
  const create = async (client: GraphqlClient, input: object = {}) =>
    (await client.query(CREATE_KEY, { input: { name: "a key", ...input } })).createApiKey;
  const rotate = async (client: GraphqlClient, input: object) => (await client.query(ROTATE, { input })).rotateApiKey;
  const revoke = async (client: GraphqlClient, input: object) => (await client.query(REVOKE, { input })).revokeApiKey;
  const userIdOf = async (client: GraphqlClient) => (await client.query(ME)).viewer.user.id;
  const refusalOf = async (client: GraphqlClient) => (await client.send(ME)).errors?.[0]?.message;
  /** Moves a time of a key, as a clock would. */
  const set = (secret: string, sql: string) =>
    app.db.transaction(asPlatform, (tx) =>
      tx.$executeRawUnsafe(`update api_key set ${sql} where prefix = $1`, secret.slice(0, 14)),
    );

  test("are shown once, and act for their member", async () => {
    const { apiKey, secret } = await create(app.member, { name: " for the build " });
    expect(apiKey).toMatchObject({ name: "for the build", prefix: secret.slice(0, 14), scopes: null, expiresAt: null });
    expect((await withKey(secret).query(ME)).viewer).toMatchObject({ role: "MEMBER", apiKey: { id: apiKey.id } });
    expect((await app.member.query(KEYS, { ofTenant: false })).apiKeys.nodes).toContainEqual({
      id: apiKey.id,
      name: "for the build",
    });
  });

  test("do what their scopes and their role allow", async () => {
    const { secret } = await create(app.member, { scopes: ["GENERATION_READ"] });
    const reader = withKey(secret);
    expect((await reader.query(ME)).viewer.scopes).toEqual(["GENERATION_READ"]);
    await reader.query("{ generations(first: 1) { nodes { id } } }");
    const { createGeneration } = await reader.query(CREATE, { input: newInput({ prompt: "x" }) });
    expect(createGeneration.userErrors[0]).toMatchObject({
      code: "FORBIDDEN",
      message: expect.stringContaining("lacks the scope GENERATION_WRITE"),
    });
    expect((await create(reader)).userErrors[0].message).toContain("KEY_ADMIN");
  });

  test("draw with the presets they may use, and are told which", async () => {
    const { secret } = await create(app.member, { allowedPresets: ["other", "another"] });
    for (const preset of ["tiny", undefined]) {
      const { createGeneration } = await withKey(secret).query(
        CREATE.replace("... on QuotaError", "... on PresetError { allowedPresets } ... on QuotaError"),
        { input: { ...newInput({ prompt: "x" }), preset } },
      );
      expect(createGeneration.userErrors[0]).toMatchObject({
        __typename: "PresetError",
        code: "PRESET_NOT_ALLOWED",
        allowedPresets: ["other", "another"],
        path: ["input", "preset"],
      });
    }
    const allowed = await create(app.member, { allowedPresets: ["tiny"] });
    await withKey(allowed.secret).create({ prompt: "x" });
  });

  test("end when they expire, with words that say so", async () => {
    const expiresAt = new Date(Date.now() + 3600_000).toISOString();
    const { apiKey, secret } = await create(app.member, { expiresAt });
    expect(apiKey.expiresAt).toBe(expiresAt);
    await withKey(secret).query(ME);
    await set(secret, "expires_at = now()");
    expect(await refusalOf(withKey(secret))).toMatch(/^This API key has expired/);
    const past = await create(app.member, { expiresAt: "2020-01-01T00:00:00Z" });
    expect(past.userErrors[0]).toMatchObject({ code: "INVALID_INPUT", path: ["input", "expiresAt"] });
  });

  test("tell when they were last used, to the minute", async () => {
    const { secret } = await create(app.member);
    const used = async () => (await withKey(secret).query(ME)).viewer.apiKey.lastUsedAt;
    const first = await used();
    expect(Math.abs(Date.parse(first) - Date.now())).toBeLessThan(60_000);
    expect(await used()).toBe(first);
    await set(secret, "last_used_at = last_used_at - interval '61 seconds'");
    expect(Date.parse(await used())).toBeGreaterThanOrEqual(Date.parse(first));
  });

  test("are replaced by new ones with the same rights, and work beside them for a while", async () => {
    const old = await create(app.member, { name: "rotated", scopes: ["GENERATION_READ", "KEY_ADMIN"] });
    const fresh = await rotate(withKey(old.secret), { id: old.apiKey.id, overlapSeconds: 3600 });
    expect(fresh.apiKey).toMatchObject({ name: "rotated", scopes: old.apiKey.scopes, revokedAt: null });
    for (const secret of [old.secret, fresh.secret]) await withKey(secret).query(ME);
    const again = await rotate(app.member, { id: old.apiKey.id });
    expect(again.userErrors[0].message).toContain("replaced already");
    await set(old.secret, "revoked_at = now()");
    expect(await refusalOf(withKey(old.secret))).toMatch(/^This API key was revoked/);
    await withKey(fresh.secret).query(ME);
  });

  test("stop at once when they are revoked, twice without an error", async () => {
    const { apiKey, secret } = await create(app.member);
    const stale = await revoke(app.member, { id: apiKey.id, ifMatch: "v9" });
    expect(stale.userErrors[0]).toMatchObject({ __typename: "VersionError", currentEtag: apiKey.etag });
    const revoked = await revoke(app.member, { id: apiKey.id, ifMatch: apiKey.etag, reason: "lost" });
    expect(revoked.userErrors).toEqual([]);
    expect(await refusalOf(withKey(secret))).toMatch(/^This API key was revoked/);
    expect((await revoke(app.member, { id: apiKey.id })).apiKey).toEqual(revoked.apiKey);
  });

  test("of others are for administrators, who reach no role above their own", async () => {
    const admin = await app.addMember("ADMIN");
    const [memberId, ownerId] = [await userIdOf(app.member), await userIdOf(app.owner)];
    const made = await create(admin, { userId: memberId });
    expect((await withKey(made.secret).query(ME)).viewer).toMatchObject({ role: "MEMBER", user: { id: memberId } });
    expect(made.apiKey.scopes).not.toContain("MEMBER_ADMIN");
    expect((await create(admin, { userId: ownerId })).userErrors[0]).toMatchObject({ code: "FORBIDDEN" });
    expect((await create(app.member, { userId: ownerId })).userErrors[0]).toMatchObject({ code: "FORBIDDEN" });
    const owners = (await create(app.owner)).apiKey;
    expect((await revoke(admin, { id: owners.id })).userErrors[0]).toMatchObject({ code: "FORBIDDEN" });
    expect((await revoke(app.member, { id: owners.id })).userErrors[0]).toMatchObject({ code: "NOT_FOUND" });
    expect((await admin.query(KEYS, { ofTenant: true })).apiKeys.nodes.length).toBeGreaterThan(3);
    expect((await app.member.send(KEYS, { ofTenant: true })).errors?.[0]?.extensions["code"]).toBe("FORBIDDEN");
  });

  test("of an administrator of the platform are made by no other owner of a tenant", async () => {
    const otherOwner = await app.addMember("OWNER");
    const refused = await create(otherOwner, { userId: await userIdOf(app.owner) });
    expect(refused.userErrors[0]).toMatchObject({ code: "FORBIDDEN", message: expect.stringContaining("platform") });
  });

  test("never have more than the key that makes them", async () => {
    const expiresAt = new Date(Date.now() + 3600_000).toISOString();
    const limits = { scopes: ["KEY_ADMIN"], allowedPresets: ["tiny"], expiresAt };
    const maker = withKey((await create(app.owner, limits)).secret);
    const child = await create(maker);
    expect(child.apiKey).toMatchObject(limits);
    for (const [field, value] of [
      ["scopes", ["GENERATION_READ"]],
      ["allowedPresets", ["tiny", "other"]],
      ["expiresAt", new Date(Date.now() + 7200_000).toISOString()],
    ] as const) {
      expect((await create(maker, { [field]: value })).userErrors[0], field).toMatchObject({
        code: "FORBIDDEN",
        path: ["input", field],
      });
    }
    const wide = await create(app.owner);
    expect((await rotate(maker, { id: wide.apiKey.id })).userErrors[0].code).toBe("FORBIDDEN");
  });

  test("of another tenant are as absent as none", async () => {
    const stranger = await app.addMember("OWNER", { credits: 0n });
    const { apiKey } = await create(app.member);
    for (const act of [revoke, rotate])
      expect((await act(stranger, { id: apiKey.id })).userErrors[0]).toMatchObject({ code: "NOT_FOUND" });
    expect((await create(stranger, { userId: apiKey.userId })).userErrors[0]).toMatchObject({ code: "NOT_FOUND" });
    expect((await stranger.query(KEYS, { ofTenant: true })).apiKeys.nodes).toHaveLength(1);
  });
});
