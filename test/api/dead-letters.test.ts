import { Status } from "nice-grpc";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { asPlatform, asTenant } from "../../src/platform/access.ts";
import { fromGlobalId } from "../../src/platform/ids.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import type { GraphqlClient } from "../support/graphql-client.ts";
import { ShiftedClock } from "../support/shifted-clock.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";

const LETTERS = `query($first: Int, $after: String, $last: Int, $tenantId: ID, $allTenants: Boolean) {
  deadLetters(first: $first, after: $after, last: $last, tenantId: $tenantId, allTenants: $allTenants) {
    nodes {
      id tenantId userId pool preset task priority createdAt finishedAt
      failure { code message } attempts { number outcome message } replayIds
    }
    pageInfo { hasNextPage endCursor }
  }
}`;

describe("dead letters", () => {
  const clock = new ShiftedClock();
  let worker: FakeWorker;
  let app: TestApp;
  let operator: GraphqlClient;
  let stranger: GraphqlClient;
  /** Of the member, oldest first; and that of another tenant, which is the newest. */
  const ids: string[] = [];
  let strangers: string;

  const list = async (client: GraphqlClient, variables: object): Promise<any> =>
    (await client.query(LETTERS, variables)).deadLetters;
  const idsOf = async (client: GraphqlClient, variables: object): Promise<string[]> =>
    (await list(client, variables)).nodes.map(({ id }: { id: string }) => id);
  const codeOf = async (client: GraphqlClient, variables: object): Promise<unknown> =>
    (await client.send(LETTERS, variables)).errors?.[0]?.extensions["code"];
  const tenantOf = async (client: GraphqlClient): Promise<string> =>
    (await client.query("{ viewer { tenant { id } } }")).viewer.tenant.id;
  const deadLetter = async (client: GraphqlClient): Promise<string> => {
    const id = await client.create({ prompt: "a secret" });
    const call = await worker.nextCall();
    await app.db.transaction(
      asPlatform,
      (tx) => tx.$executeRaw`update generation set failed_attempts = 2 where state = 'RUNNING'`,
    );
    call.started().fail(Status.INTERNAL, "out of memory");
    await client.finished(id);
    clock.advance(600_000); // a worker that fails one after the other is left alone for a while
    return id;
  };

  beforeAll(async () => {
    worker = new FakeWorker();
    app = await createTestApp({ workers: worker, clock });
    operator = await app.addMember("OPERATOR");
    stranger = await app.addMember("OWNER", { credits: 10_000_000n });
    for (let i = 0; i < 3; i++) ids.push(await deadLetter(app.member));
    strangers = await deadLetter(stranger);
  });
  afterAll(() => app.stop());

  test("are shown to operators of their tenant, newest first, with what went wrong", async () => {
    expect(await idsOf(operator, { first: 100 })).toEqual([...ids].reverse());
    const [letter] = (await list(operator, { first: 1 })).nodes;
    expect(letter).toMatchObject({
      tenantId: await tenantOf(operator),
      pool: "local",
      task: "TEXT_TO_IMAGE",
      failure: { code: "INTERNAL", message: expect.stringContaining("The worker failed.") },
      attempts: [{ number: 1, outcome: "FAILED" }],
      replayIds: [],
    });
    expect(Date.parse(letter.finishedAt)).toBeGreaterThanOrEqual(Date.parse(letter.createdAt));
    expect(await idsOf(stranger, { first: 100 })).toEqual([strangers]);
  });

  test("come in pages", async () => {
    const { nodes, pageInfo } = await list(operator, { first: 2 });
    expect(nodes.map(({ id }: { id: string }) => id)).toEqual([ids[2], ids[1]]);
    expect(pageInfo.hasNextPage).toBe(true);
    expect(await idsOf(operator, { first: 2, after: pageInfo.endCursor })).toEqual([ids[0]]);
    expect(await idsOf(operator, { last: 2 })).toEqual([ids[1], ids[0]]);
  });

  test("of any tenant, or of all, are shown to administrators of the platform, which is noted", async () => {
    const tenantId = await tenantOf(stranger);
    expect(await idsOf(app.owner, { first: 100, tenantId })).toEqual([strangers]);
    expect(await idsOf(app.owner, { first: 2, allTenants: true })).toEqual([strangers, ids[2]]);
    expect(await codeOf(app.owner, { first: 1, tenantId, allTenants: true })).toBe("INVALID_INPUT");
    const log = "query($scope: AuditScope!) { auditLog(scope: $scope, first: 100) { nodes { action } } }";
    const noted = async (client: GraphqlClient, scope: string): Promise<string[]> =>
      (await client.query(log, { scope })).auditLog.nodes.map(({ action }: { action: string }) => action);
    expect((await noted(app.owner, "PLATFORM")).slice(-2)).toEqual(["deadLetter:read", "deadLetter:read"]);
    expect(await noted(stranger, "TENANT")).toEqual(["deadLetter:read"]);
  });

  test("tell by what they were replayed, and are gone with their generation", async () => {
    const [, , id] = ids;
    const replay = "mutation($input: ReplayGenerationInput!) { replayGeneration(input: $input) { generation { id } } }";
    const { replayGeneration } = await operator.query(replay, { input: { id, idempotencyKey: "letter" } });
    await (await worker.nextCall()).started().succeed();
    expect((await list(operator, { first: 1 })).nodes[0].replayIds).toEqual([replayGeneration.generation.id]);
    await app.member.query("mutation($id: ID!) { deleteGeneration(id: $id) { userErrors { message } } }", { id });
    expect(await idsOf(operator, { first: 100 })).toEqual([ids[1], ids[0]]);
  });

  test("are found by an index of theirs, however much has ended", async () => {
    const tenantId = fromGlobalId("Tenant", await tenantOf(operator));
    const planOf = (access: typeof asPlatform, condition: string): Promise<string> =>
      app.db.transaction(access, async (tx) => {
        await tx.$executeRaw`select set_config('enable_seqscan', 'off', true), set_config('enable_sort', 'off', true)`;
        const query = `select id from generation where is_dead_letter and deleted_at is null ${condition} order by id desc limit 5`;
        return JSON.stringify(await tx.$queryRawUnsafe(`explain ${query}`));
      });
    expect(await planOf(asTenant(tenantId), `and tenant_id = '${tenantId}'`)).toMatch(
      /Index (Only )?Scan using generation_dead_letters_(of_tenant_)?idx/,
    );
    expect(await planOf(asPlatform, "")).toMatch(/Index (Only )?Scan using generation_dead_letters_idx/);
  });
});
