import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { asPlatform } from "../../src/platform/access.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import { CANCEL, CREATE, GraphqlClient, newInput } from "../support/graphql-client.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";
import { createUpload, send } from "../support/uploads.ts";

const ERRORS = "userErrors { __typename code message path ... on VersionError { currentEtag } }";
const MEMBER = `member { user { id name email } role etag } ${ERRORS}`;
const ADD = `mutation($input: AddMemberInput!) { result: addMember(input: $input) { ${MEMBER} } }`;
const SET_ROLE = `mutation($input: SetMemberRoleInput!) { result: setMemberRole(input: $input) { ${MEMBER} } }`;
const REMOVE = `mutation($input: RemoveMemberInput!) { result: removeMember(input: $input) { ${MEMBER} } }`;
const CREATE_KEY = `mutation($input: CreateApiKeyInput!) { result: createApiKey(input: $input) { secret ${ERRORS} } }`;
const TENANT = `tenant { id name suspendedAt etag } ${ERRORS}`;
const CREATE_TENANT = `mutation($input: CreateTenantInput!) { result: createTenant(input: $input) { secret owner { id } ${TENANT} } }`;
const SUSPEND = `mutation($input: SuspendTenantInput!) { result: suspendTenant(input: $input) { ${TENANT} } }`;
const RESUME = `mutation($input: SuspendTenantInput!) { result: resumeTenant(input: $input) { ${TENANT} } }`;
const MEMBERS = "{ members(first: 100) { nodes { user { id name email } role } } }";
const LOG = `query($first: Int!, $after: String, $scope: AuditScope!) {
  auditLog(first: $first, after: $after, scope: $scope) {
    nodes { seq at actorId apiKeyId action targetType targetId reason before after hash text } pageInfo { endCursor hasNextPage }
  }
}`;
const VERIFY = "query($scope: AuditScope!) { verifyAuditLog(scope: $scope) { entries headHash brokenAt } }";

describe("tenants and their members", () => {
  let app: TestApp;
  let worker: FakeWorker;
  let owner: GraphqlClient;
  let ownerId: string;
  let tenantId: string;

  beforeAll(async () => {
    worker = new FakeWorker();
    app = await createTestApp({ workers: worker });
    const made = await act(app.owner, CREATE_TENANT, { name: "Ink", owner: { name: "Ada" }, withApiKey: true });
    owner = withKey(made.secret);
    ownerId = made.owner.id;
    tenantId = made.tenant.id;
  });
  afterAll(() => app.stop());

  const withKey = (secret: string) => new GraphqlClient(app.credentials.url, secret);
  const act = async (client: GraphqlClient, mutation: string, input: object) =>
    (await client.query(mutation, { input })).result;
  const codeOf = async (client: GraphqlClient, mutation: string, input: object) =>
    (await act(client, mutation, input)).userErrors[0]?.code;
  /** A new member of the owner's tenant, with a key. */
  const join = async (role: string, name = role) => {
    const { member } = await act(owner, ADD, { name, role });
    const { secret } = await act(owner, CREATE_KEY, { name: "key", userId: member.user.id });
    return { id: member.user.id, etag: member.etag, client: withKey(secret) };
  };
  const log = async (client: GraphqlClient, scope: "TENANT" | "PLATFORM") =>
    (await client.query(LOG, { first: 100, scope })).auditLog.nodes;

  test("a new tenant's owner enters with the first key, and its members are its own", async () => {
    const { viewer } = await owner.query("{ viewer { role isPlatformAdmin tenant { id name } tenants { id } } }");
    expect(viewer).toEqual({
      role: "OWNER",
      isPlatformAdmin: false,
      tenant: { id: tenantId, name: "Ink" },
      tenants: [{ id: tenantId }],
    });
    expect((await owner.query(MEMBERS)).members.nodes).toEqual([
      { user: { id: ownerId, name: "Ada", email: null }, role: "OWNER" },
    ]);
    const refused = await act(app.owner, CREATE_TENANT, { name: "Nobody's", owner: { name: "Ada" } });
    expect(refused.userErrors[0].message).toContain("Nobody could enter");
  });

  test("members are added once, by e-mail in any case, with a role that the adder has", async () => {
    const input = { name: "Bea", email: "Bea@Example.org", role: "MEMBER" };
    expect((await act(owner, ADD, input)).member).toMatchObject({ user: { email: "bea@example.org" }, role: "MEMBER" });
    expect((await act(owner, ADD, { ...input, email: "bea@example.ORG" })).userErrors[0].message).toContain("already");
    expect(await codeOf(owner, ADD, { ...input, email: "bea" })).toBe("INVALID_INPUT");
    const admin = await join("ADMIN");
    expect(await codeOf(admin.client, ADD, { name: "x", role: "OWNER" })).toBe("FORBIDDEN");
    expect(await codeOf((await join("OPERATOR")).client, ADD, { name: "x", role: "VIEWER" })).toBe("FORBIDDEN");
  });

  test("a role takes effect at once, and nobody changes one above theirs", async () => {
    const [admin, member] = [await join("ADMIN"), await join("MEMBER")];
    const input = { userId: member.id, role: "VIEWER", ifMatch: member.etag };
    expect((await act(admin.client, SET_ROLE, input)).member.role).toBe("VIEWER");
    expect((await member.client.query("{ viewer { role } }")).viewer.role).toBe("VIEWER");
    expect((await act(admin.client, SET_ROLE, input)).userErrors[0]).toMatchObject({ __typename: "VersionError" });
    expect(await codeOf(admin.client, SET_ROLE, { userId: member.id, role: "OWNER" })).toBe("FORBIDDEN");
    for (const mutation of [SET_ROLE, REMOVE]) {
      const onOwner = mutation === SET_ROLE ? { userId: ownerId, role: "VIEWER" } : { userId: ownerId };
      expect(await codeOf(admin.client, mutation, onOwner)).toBe("FORBIDDEN");
    }
  });

  test("the last owner stays, also when two try to leave at the same time", async () => {
    expect(await codeOf(owner, REMOVE, { userId: ownerId })).toBe("LAST_OWNER");
    expect(await codeOf(owner, SET_ROLE, { userId: ownerId, role: "ADMIN" })).toBe("LAST_OWNER");
    const second = await join("OWNER");
    const [first, other] = await Promise.all([
      codeOf(owner, SET_ROLE, { userId: ownerId, role: "ADMIN" }),
      codeOf(second.client, SET_ROLE, { userId: second.id, role: "ADMIN" }),
    ]);
    expect([first, other].filter((code) => code !== undefined)).toEqual(["LAST_OWNER"]);
    if (first === undefined) await act(second.client, SET_ROLE, { userId: ownerId, role: "OWNER" });
  });

  test("a removed member's keys stop at once, and do not come back with them", async () => {
    const { member } = await act(owner, ADD, { name: "Cleo", email: "cleo@example.org", role: "MEMBER" });
    const { secret } = await act(owner, CREATE_KEY, { name: "key", userId: member.user.id });
    await withKey(secret).query("{ viewer { role } }");
    expect(await codeOf(owner, REMOVE, { userId: member.user.id, reason: "left" })).toBeUndefined();
    expect((await withKey(secret).send("{ viewer { role } }")).errors?.[0]?.message).toContain("revoked");
    const again = await act(owner, ADD, { name: "Cleo", email: "cleo@example.org", role: "MEMBER" });
    expect(again.member.user.id).toBe(member.user.id);
    expect((await withKey(secret).send("{ viewer { role } }")).errors?.[0]?.extensions["code"]).toBe("UNAUTHENTICATED");
  });

  test("members of another tenant are as absent as none", async () => {
    for (const [mutation, input] of [
      [SET_ROLE, { userId: ownerId, role: "VIEWER" }],
      [REMOVE, { userId: ownerId }],
    ] as const)
      expect(await codeOf(app.owner, mutation, input)).toBe("NOT_FOUND");
  });

  test("only administrators of the platform see and manage tenants", async () => {
    const TENANTS = "{ tenants(first: 100) { nodes { id name } } }";
    expect((await app.owner.query(TENANTS)).tenants.nodes).toContainEqual({ id: tenantId, name: "Ink" });
    expect((await owner.send(TENANTS)).errors?.[0]?.extensions["code"]).toBe("FORBIDDEN");
    expect(await codeOf(owner, CREATE_TENANT, { name: "x", owner: { name: "x" }, withApiKey: true })).toBe("FORBIDDEN");
    for (const mutation of [SUSPEND, RESUME])
      expect(await codeOf(owner, mutation, { id: tenantId, reason: "x" })).toBe("FORBIDDEN");
  });

  test("a tenant's weight in the turns is set, with a reason in the logs", async () => {
    const set = (client: GraphqlClient, input: object) =>
      act(
        client,
        "mutation($input: SetShareWeightInput!) { result: setShareWeight(input: $input) { tenant { shareWeight etag } userErrors { code } } }",
        { id: tenantId, reason: "paid for more", ...input },
      );
    expect((await set(owner, { weight: 9 })).userErrors[0].code).toBe("FORBIDDEN");
    for (const weight of [0, -1, 1001])
      expect((await set(app.owner, { weight })).userErrors[0].code).toBe("INVALID_INPUT");
    const { tenant } = await set(app.owner, { weight: 2.5 });
    expect(tenant.shareWeight).toBe(2.5);
    expect((await set(app.owner, { weight: 1, ifMatch: "v0" })).userErrors[0].code).toBe("VERSION_MISMATCH");
    expect((await set(app.owner, { weight: 1, ifMatch: tenant.etag })).tenant.shareWeight).toBe(1);
    expect((await log(owner, "TENANT")).at(-1)).toMatchObject({
      action: "tenant:set-share-weight",
      reason: "paid for more",
    });
  });

  test("a suspended tenant reads, changes nothing, and its queue waits until it is resumed", async () => {
    const customer = await app.addMember("OWNER", { credits: 1_000_000_000n });
    const { id } = (await customer.query("{ viewer { tenant { id } } }")).viewer.tenant;
    const running = await customer.create({ prompt: "running" });
    const call = await worker.nextCall();
    const queued = await customer.create({ prompt: "queued" });
    const target = await createUpload(customer, "PICTURE");
    expect((await act(app.owner, SUSPEND, { id, reason: "unpaid" })).tenant.suspendedAt).not.toBeNull();

    expect((await customer.generation(queued)).state).toBe("QUEUED");
    expect(
      (await customer.query(CREATE, { input: newInput({ prompt: "x" }) })).createGeneration.userErrors[0].code,
    ).toBe("TENANT_SUSPENDED");
    expect((await customer.query(CANCEL, { id: queued })).cancelGeneration.userErrors[0].code).toBe("TENANT_SUSPENDED");
    expect(await codeOf(customer, CREATE_KEY, { name: "x" })).toBe("TENANT_SUSPENDED");
    expect((await send(target, Buffer.from("x"))).status).toBe(403);
    expect((await log(customer, "TENANT")).at(-1)).toMatchObject({ action: "tenant:suspend", reason: "unpaid" });

    // The slot goes to another tenant's generation, though theirs came first; what ran when they were suspended comes back too.
    const other = await app.member.create({ prompt: "another tenant's" });
    call.started().yielded();
    const next = await worker.nextCall();
    expect(next.prompt).toBe("another tenant's");
    await next.started().succeed();
    await app.member.finished(other);
    expect((await customer.generation(running)).state).toBe("QUEUED");
    // What was queued then is out of the index of claims; what came back since waits by the list of suspended tenants.
    const parked = () => app.db.transaction(asPlatform, (tx) => tx.generation.count({ where: { parked: true } }));
    expect(await parked()).toBe(1);
    const stale = await act(app.owner, RESUME, { id, reason: "paid", ifMatch: "v1" });
    expect(stale.userErrors[0]).toMatchObject({ code: "VERSION_MISMATCH", currentEtag: "v2" });
    expect(await parked()).toBe(2);
    expect((await act(app.owner, RESUME, { id, reason: "paid" })).tenant.suspendedAt).toBeNull();
    expect(await parked()).toBe(0);
    expect(["running", "queued"]).toContain((await worker.nextCall()).prompt);
  });

  test("every change is in the audit log, in pages, with who, what and why; and the chain holds", async () => {
    const entries = await log(owner, "TENANT");
    expect(entries.map(({ seq }: { seq: number }) => seq)).toEqual(entries.map((_: unknown, i: number) => i + 1));
    const removed = entries.find(({ action }: { action: string }) => action === "member:remove");
    expect(removed).toMatchObject({ actorId: ownerId, targetType: "User", reason: "left", after: null });
    expect(removed.before).toMatchObject({ name: "Cleo", role: "MEMBER" });
    expect(removed.targetId).toMatch(/^usr_/);
    expect(JSON.stringify(entries)).not.toMatch(/atelier_[A-Za-z0-9_-]{20}/);
    const first = (await owner.query(LOG, { first: 2, scope: "TENANT" })).auditLog;
    const second = (await owner.query(LOG, { first: 2, after: first.pageInfo.endCursor, scope: "TENANT" })).auditLog;
    expect([...first.nodes, ...second.nodes]).toEqual(entries.slice(0, 4));
    expect((await owner.query(VERIFY, { scope: "TENANT" })).verifyAuditLog).toEqual({
      entries: entries.length,
      headHash: entries.at(-1).hash,
      brokenAt: null,
    });
  });

  test("uses of the platform's rights are in the platform's log, which only its administrators read", async () => {
    const actions = (await log(app.owner, "PLATFORM")).map(({ action }: { action: string }) => action);
    expect(actions).toEqual(
      expect.arrayContaining(["tenant:create", "tenant:list", "tenant:suspend", "tenant:resume"]),
    );
    expect((await log(app.owner, "PLATFORM")).at(-1).action).toBe("audit:read");
    for (const query of [LOG, VERIFY])
      expect((await owner.send(query, { first: 1, scope: "PLATFORM" })).errors?.[0]?.extensions["code"]).toBe(
        "FORBIDDEN",
      );
    expect(
      (await (await join("OPERATOR")).client.send(VERIFY, { scope: "TENANT" })).errors?.[0]?.extensions["code"],
    ).toBe("FORBIDDEN");
  });
});
