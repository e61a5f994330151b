import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { asPlatform } from "../../src/platform/access.ts";
import { newId, toGlobalId } from "../../src/platform/ids.ts";
import { createLogger } from "../../src/platform/logger.ts";
import { QuotaCheck } from "../../src/quota/quota-check.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import { CANCEL, CREATE, type GraphqlClient, newInput } from "../support/graphql-client.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";

const LIMIT = "level subjectId kind window isRolling max used held available resetsAt etag";
const SET = `mutation($input: SetLimitInput!) { setLimit(input: $input) {
  limit { ${LIMIT} } userErrors { code message path ... on VersionError { currentEtag } } } }`;
const CHANGE = (field: string) => `mutation($input: ChangeCreditsInput!) { ${field}(input: $input) {
  credits { granted available etag } userErrors { code message path } } }`;
const VIEWER = "{ viewer { user { id } tenant { id credits { granted used held available etag } } } }";

describe("limits and credits in the API", () => {
  let app: TestApp;
  let worker: FakeWorker;
  let operator: GraphqlClient;
  let admin: GraphqlClient;
  let outsider: GraphqlClient;

  beforeAll(async () => {
    worker = new FakeWorker();
    app = await createTestApp({ workers: worker });
    operator = await app.addMember("OPERATOR");
    admin = await app.addMember("ADMIN");
    outsider = await app.addMember("OWNER", { credits: 5_000_000n });
  });
  afterAll(() => app.stop());

  const viewer = async (client: GraphqlClient) => (await client.query(VIEWER)).viewer;
  const set = async (client: GraphqlClient, input: object) =>
    (await client.query(SET, { input: { reason: "test", ...input } })).setLimit;

  test("an estimate is what is reserved, and asks for nothing to be done", async () => {
    const task = { textToImage: { prompt: "a red circle", count: 2 } };
    const { estimate } = await app.member.query(
      "query($input: EstimateInput!) { estimate(input: $input) { credits } }",
      { input: { task } },
    );
    const { createGeneration } = await app.member.query(CREATE, { input: newInput(task.textToImage) });
    expect(createGeneration.generation.creditsReserved).toBe(estimate.credits);
    await app.member.query(CANCEL, { id: createGeneration.generation.id });
  });

  test("administrators limit members; the refusal names the limit and when there is room again", async () => {
    const { user } = await viewer(operator);
    const first = await set(admin, { level: "MEMBER", userId: user.id, kind: "CREDITS", window: "DAY", max: "0.2" });
    expect(first.userErrors).toEqual([]);
    expect(first.limit).toMatchObject({
      level: "MEMBER",
      subjectId: user.id,
      max: "0.2",
      available: "0.2",
      etag: "v1",
    });
    await operator.query(CREATE, { input: newInput({ prompt: "a red circle" }) });
    const refused = await operator.query(
      CREATE.replace("... on QuotaError {", "retryAfterMs ... on QuotaError { kind limit used held resetsAt"),
      { input: newInput({ prompt: "a red circle" }) },
    );
    expect(refused.createGeneration.userErrors).toEqual([
      expect.objectContaining({
        __typename: "QuotaError",
        code: "QUOTA_EXHAUSTED",
        level: "MEMBER",
        kind: "CREDITS",
        limit: "0.2",
        held: "0.165888",
        needed: "0.165888",
        available: "0.034112",
      }),
    ]);
    const { limits } = await operator.query(`{ limits { ${LIMIT} } }`);
    expect(limits.map(({ level, kind }: any) => `${level} ${kind}`)).toEqual(["TENANT CREDITS", "MEMBER CREDITS"]);
    const stale = await set(admin, {
      level: "MEMBER",
      userId: user.id,
      kind: "CREDITS",
      window: "DAY",
      max: "9",
      ifMatch: "v7",
    });
    expect(stale.userErrors).toEqual([expect.objectContaining({ code: "VERSION_MISMATCH", currentEtag: "v1" })]);
    const gone = await set(admin, { level: "MEMBER", userId: user.id, kind: "CREDITS", window: "DAY", ifMatch: "v1" });
    expect(gone).toEqual({ limit: null, userErrors: [] });
  });

  test("nobody sets limits who may not, or of what is not theirs", async () => {
    const { user, tenant } = await viewer(operator);
    const member = { level: "MEMBER", userId: user.id, kind: "QUEUED", max: "1" };
    const codes = async (client: GraphqlClient, input: object) =>
      (await set(client, input)).userErrors.map(({ code }: any) => code);
    expect(await codes(operator, member)).toEqual(["FORBIDDEN"]);
    expect(await codes(admin, { level: "TENANT", kind: "QUEUED", max: "1" })).toEqual(["FORBIDDEN"]);
    expect(await codes(admin, { level: "PLATFORM", kind: "QUEUED", max: "1" })).toEqual(["FORBIDDEN"]);
    expect(await codes(outsider, member)).toEqual(["NOT_FOUND"]);
    expect(await codes(outsider, { ...member, tenantId: tenant.id })).toEqual(["FORBIDDEN"]);
    expect(await codes(admin, { ...member, window: "DAY" })).toEqual(["INVALID_INPUT"]);
    expect(await codes(admin, { ...member, max: "1.5" })).toEqual(["INVALID_INPUT"]);
    expect(await codes(app.owner, { level: "TENANT", kind: "CREDITS", window: "TOTAL", max: "1" })).toEqual([
      "INVALID_INPUT",
    ]);
  });

  test("administrators of the platform grant and adjust credits, with a reason in the ledger and the audit log", async () => {
    const { tenant } = await viewer(outsider);
    const change = async (client: GraphqlClient, field: string, input: object) =>
      (await client.query(CHANGE(field), { input: { tenantId: tenant.id, reason: "for the fair", ...input } }))[field];
    expect((await change(admin, "grantCredits", { credits: "1" })).userErrors[0].code).toBe("FORBIDDEN");
    const granted = await change(app.owner, "grantCredits", { credits: "2.5", ifMatch: "v1" });
    expect(granted).toEqual({ credits: { granted: "7.5", available: "7.5", etag: "v2" }, userErrors: [] });
    expect((await change(app.owner, "adjustCredits", { credits: "-8" })).userErrors[0].code).toBe("INVALID_INPUT");
    expect((await change(app.owner, "adjustCredits", { credits: "-0.5" })).credits.granted).toBe("7");
    const { ledger } = await outsider.query(
      "{ ledger(first: 2, filter: {kinds: [GRANT, ADJUST]}) { nodes { kind credits reason } pageInfo { hasNextPage endCursor } } }",
    );
    expect(ledger.nodes).toEqual([
      { kind: "ADJUST", credits: "-0.5", reason: "for the fair" },
      { kind: "GRANT", credits: "2.5", reason: "for the fair" },
    ]);
    const next = await outsider.query(
      "query($after: String) { ledger(first: 2, after: $after) { nodes { reason } } }",
      {
        after: ledger.pageInfo.endCursor,
      },
    );
    expect(next.ledger.nodes).toEqual([{ reason: "test" }]);
    const { auditLog } = await outsider.query("{ auditLog(first: 10) { nodes { action reason } } }");
    expect(auditLog.nodes).toContainEqual({ action: "credits:grant", reason: "for the fair" });
  });

  test("use is added up by day, member, key and task, and exported as CSV under a link", async () => {
    const id = await app.member.create({ prompt: "counted" });
    for (let call = await worker.nextCall(); ; call = await worker.nextCall()) {
      await call.started().succeed();
      if (call.prompt === "counted") break;
    }
    await app.member.finished(id);
    const today = new Date().toISOString().slice(0, 10);
    const { user } = await viewer(app.member);
    const sum = async (client: GraphqlClient, input: object) =>
      (
        await client.query(
          "query($input: UsageInput!) { usage(input: $input) { day userId task ended succeeded credits pixels } }",
          { input: { from: today, to: today, ...input } },
        )
      ).usage;
    const [mine] = await sum(app.member, { groupBy: ["DAY", "TASK"] });
    expect(mine).toMatchObject({
      day: today,
      userId: null,
      task: "TEXT_TO_IMAGE",
      succeeded: 1,
      credits: "0.165888",
      pixels: 9216,
    });
    const all = await sum(admin, { groupBy: ["MEMBER"] });
    expect(all).toContainEqual(expect.objectContaining({ userId: user.id, succeeded: 1 }));
    expect(await sum(outsider, { groupBy: [] })).toEqual([expect.objectContaining({ ended: 0, credits: "0" })]);
    const { usageCsvUrl, ledgerCsvUrl } = await admin.query(
      "query($day: String!) { usageCsvUrl(from: $day, to: $day) ledgerCsvUrl(from: $day, to: $day) }",
      { day: today },
    );
    const usage = await (await fetch(usageCsvUrl)).text();
    expect(usage.split("\r\n")[0]).toBe("day,userId,apiKeyId,task,ended,succeeded,credits,pixels");
    expect(usage).toContain(`${today},${user.id}`);
    const ledger = await (await fetch(ledgerCsvUrl)).text();
    expect(ledger).toContain(`SETTLE,-0.165888,-0.165888,${id}`);
    expect((await fetch(usageCsvUrl.replace(today, "2020-01-01"))).status).toBe(403);
    const denied = await app.member.send("query($day: String!) { usageCsvUrl(from: $day, to: $day) }", { day: today });
    expect(denied.errors?.[0]?.extensions["code"]).toBe("FORBIDDEN");
  });

  test("administrators of the platform read every tenant's limits, use and ledger, which is noted there and here", async () => {
    const { tenant, user } = await viewer(outsider);
    await set(app.owner, { level: "TENANT", tenantId: tenant.id, kind: "QUEUED", max: "7" });
    await set(outsider, { level: "MEMBER", userId: user.id, kind: "RUNNING", max: "3" });
    await set(app.owner, { level: "PLATFORM", kind: "RUNNING", max: "1000" });
    const LIMITS =
      "query($tenantId: ID, $platform: Boolean) { limits(tenantId: $tenantId, platform: $platform) { level kind max } }";
    const limits = async (client: GraphqlClient, variables: object) =>
      (await client.query(LIMITS, variables)).limits.map(({ level, kind, max }: any) => `${level} ${kind} ${max}`);
    const theirs = ["TENANT QUEUED 7", "TENANT CREDITS 7", "MEMBER RUNNING 3"];
    expect(await limits(app.owner, { tenantId: tenant.id })).toEqual(theirs);
    expect(await limits(outsider, { tenantId: tenant.id })).toEqual(theirs);
    expect(await limits(app.owner, { platform: true })).toEqual(["PLATFORM RUNNING 1000"]);
    const today = new Date().toISOString().slice(0, 10);
    const days = { from: today, to: today, tenantId: tenant.id };
    const asked = `query($from: String!, $to: String!, $tenantId: ID!) {
      usage(input: {from: $from, to: $to, tenantId: $tenantId, groupBy: []}) { ended }
      ledger(filter: {tenantId: $tenantId}) { nodes { reason } }
      usageCsvUrl(from: $from, to: $to, tenantId: $tenantId)
    }`;
    const read = await app.owner.query(asked, days);
    expect(read.ledger.nodes).toContainEqual({ reason: "for the fair" });
    expect((await fetch(read.usageCsvUrl)).status).toBe(200);
    const log = async (client: GraphqlClient, scope: string) =>
      (await client.query(`{ auditLog(first: 100, scope: ${scope}) { nodes { action targetId } } }`)).auditLog.nodes
        .filter(({ action }: any) => /^(limit|usage|ledger):read$/.test(action))
        .map(({ action, targetId }: any) => `${action} ${targetId === tenant.id ? "theirs" : "the platform's"}`);
    const noted = ["limit:read theirs", "usage:read theirs", "ledger:read theirs", "usage:read theirs"];
    expect((await log(outsider, "TENANT")).sort()).toEqual([...noted].sort());
    expect((await log(app.owner, "PLATFORM")).sort()).toEqual([...noted, "limit:read the platform's"].sort());
    const codes = async (client: GraphqlClient, variables: object) =>
      (await client.send(LIMITS, variables)).errors?.map(({ extensions }) => extensions["code"]);
    expect(await codes(admin, { tenantId: tenant.id })).toEqual(["FORBIDDEN"]);
    expect(await codes(outsider, { platform: true })).toEqual(["FORBIDDEN"]);
    const nobody = toGlobalId("Tenant", newId());
    expect(await codes(app.owner, { tenantId: nobody })).toEqual(["NOT_FOUND"]);
    for (const [client, level] of [
      [app.owner, "TENANT"],
      [outsider, "MEMBER"],
      [app.owner, "PLATFORM"],
    ] as const) {
      const of = level === "TENANT" ? { tenantId: tenant.id } : level === "MEMBER" ? { userId: user.id } : {};
      const gone = await set(client, { level, ...of, kind: level === "TENANT" ? "QUEUED" : "RUNNING" });
      expect(gone).toEqual({ limit: null, userErrors: [] });
    }
  });

  test("the nightly check finds nothing wrong, and releases what outlived its generation", async () => {
    const check = new QuotaCheck({ db: app.db, logger: createLogger("silent") });
    expect(await check.runOnce()).toEqual({ unbalanced: [], counters: [], leaked: 0 });
    const id = await outsider.create({ prompt: "lost" });
    await app.db.transaction(asPlatform, async (tx) => {
      await tx.$executeRaw`update generation set state = 'FAILED', finished_at = now() where state in ('QUEUED', 'RUNNING')`;
      await tx.$executeRaw`update reservation set expires_at = now() where ended_at is null`;
    });
    expect(id).toBeDefined();
    expect((await check.runOnce()).leaked).toBeGreaterThan(0);
    expect((await viewer(outsider)).tenant.credits.held).toBe("0");
    expect(await check.runOnce()).toEqual({ unbalanced: [], counters: [], leaked: 0 });
  });
});
