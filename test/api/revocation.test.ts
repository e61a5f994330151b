import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { asPlatform } from "../../src/platform/access.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import { GraphqlClient } from "../support/graphql-client.ts";
import { Told } from "../support/metrics.ts";
import { hasPostgres, startPostgres } from "../support/postgres-server.ts";
import { RawSocket } from "../support/raw-socket.ts";
import { ShiftedClock } from "../support/shifted-clock.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";
import { TokenIssuer } from "../support/token-issuer.ts";

const EVENTS = "subscription ($id: ID!) { generationEvents(id: $id, afterSeq: 0) { seq } }";
/** Times that this server has looked whether callers are still allowed to be connected: it does so every two seconds. */
const rounds = async ({ credentials }: TestApp): Promise<number> => {
  const told = new Told(await (await fetch(new URL("/metrics", credentials.url))).text());
  return told.value("atelier_duty_seconds_count", { duty: "callers", outcome: "done" }) ?? Number.NaN;
};
/** What was under way, the one that notices, and perhaps one that comes before they are counted. */
const ROUNDS = 3;
const ME = "{ viewer { user { id } tenant { id } apiKey { id } } }";

describe("an open socket", () => {
  let app: TestApp;
  let issuer: TokenIssuer;
  const clock = new ShiftedClock();
  beforeAll(async () => {
    issuer = await TokenIssuer.start();
    app = await createTestApp({ workers: new FakeWorker(0), clock }, issuer.environment);
  });
  afterAll(async () => {
    await app.stop();
    await issuer.stop();
  });

  /** A socket on which a subscription runs that would wait for ever. */
  const watching = async (client: GraphqlClient, parameters: object = {}) => {
    const id = await client.create({ prompt: "watched" });
    const socket = new RawSocket(app.credentials.url, { authorization: `Bearer ${client.apiKey}`, ...parameters });
    await socket.acknowledged();
    socket.subscribe("1", EVENTS, { id });
    expect((await socket.next()).payload.data.generationEvents.seq).toBe(1);
    return socket;
  };
  const admin = async (mutation: string, input: object) => {
    const [, type] = /^(\w+)/.exec(mutation)!;
    const text = `mutation($input: ${type![0]!.toUpperCase()}${type!.slice(1)}Input!) { ${mutation}(input: $input) { userErrors { message } } }`;
    expect(await app.owner.query(text, { input })).toEqual({ [mutation]: { userErrors: [] } });
  };
  const person = async (name: string, claims: object = {}) => {
    await admin("addMember", { name, email: `${name}@example.org`, role: "MEMBER" });
    const token = await issuer.token({ sub: name, email: `${name}@example.org`, ...claims });
    return new GraphqlClient(app.credentials.url, token);
  };
  const isMe = async (client: GraphqlClient) => (await client.query(ME)).viewer;

  test("is closed with 4403 and the reason within 5 seconds when its caller's rights end, and others stay open", async () => {
    const HOUR_MS = 3600_000;
    const clients = {
      revoked: await app.addMember("MEMBER"),
      expired: await app.addMember("MEMBER"),
      demoted: await app.addMember("MEMBER"),
      removed: await person("rex"),
      suspended: await app.addMember("OWNER", { credits: 1_000_000_000n }),
      signedOut: await person("sue", { exp: Math.floor((Date.now() + HOUR_MS) / 1000) }),
    };
    const sockets = new Map<string, RawSocket>();
    for (const [name, client] of Object.entries(clients)) sockets.set(name, await watching(client));
    const bystander = await watching(app.member);
    const closed = new Map([...sockets].map(([name, socket]) => [name, socket.closed]));

    const [expiredKey, demoted, removed, suspended] = [
      (await isMe(clients.expired)).apiKey.id,
      await isMe(clients.demoted),
      await isMe(clients.removed),
      await isMe(clients.suspended),
    ];
    expect(expiredKey).toMatch(/^key_/);
    await admin("revokeApiKey", { id: (await isMe(clients.revoked)).apiKey.id });
    await admin("setMemberRole", { userId: demoted.user.id, role: "VIEWER" });
    await admin("removeMember", { userId: removed.user.id });
    await admin("suspendTenant", { id: suspended.tenant.id, reason: "test" });
    // As another process would do it.
    await app.db.transaction(
      asPlatform,
      (tx) => tx.$executeRaw`
        update api_key set expires_at = now() where prefix = ${clients.expired.apiKey!.slice(0, 14)}`,
    );
    const from = await rounds(app);
    const reasons: Record<string, RegExp> = {
      revoked: /^This API key was revoked/,
      expired: /^This API key has expired/,
      demoted: /^Your role is VIEWER now/,
      removed: /^You are no longer a member/,
      suspended: /^Your tenant is suspended/,
    };
    for (const [name, reason] of Object.entries(reasons)) {
      const end = await closed.get(name)!;
      expect([name, end.code, end.reason]).toEqual([name, 4403, expect.stringMatching(reason)]);
    }
    expect((await rounds(app)) - from).toBeLessThanOrEqual(ROUNDS);
    clock.advance(HOUR_MS);
    const later = await rounds(app);
    expect(await closed.get("signedOut")!).toEqual({ code: 4403, reason: "Your sign-in has expired. Sign in again." });
    expect((await rounds(app)) - later).toBeLessThanOrEqual(ROUNDS);

    // Whoever may still do something connects again; the bystander noticed nothing.
    await new RawSocket(app.credentials.url, { authorization: `Bearer ${clients.suspended.apiKey}` }).acknowledged();
    bystander.subscribe("2", ME);
    expect((await bystander.next()).payload.data.viewer.user.id).toMatch(/^usr_/);
    bystander.close();
  });

  test("names the tenant that a person acts for", async () => {
    const { tenant } = await isMe(app.member);
    const client = await person("tim");
    const socket = await watching(client, { tenant: tenant.id });
    socket.close();
    const stranger = new RawSocket(app.credentials.url, {
      authorization: `Bearer ${client.apiKey}`,
      tenant: "ten_AAAAAAAAAAAAAAAAAAAAAA",
    });
    expect(await stranger.closed).toMatchObject({ code: 4403, reason: expect.stringContaining("There is no tenant") });
  });
});

test.skipIf(!hasPostgres)("an open socket is closed by what another server of the same database changed", async () => {
  const postgres = await startPostgres({ fsync: "off" });
  onTestFinished(() => postgres.stop());
  const environment = { DATABASE_URL: await postgres.createDatabase() };
  const here = await createTestApp({ workers: new FakeWorker(0) }, environment);
  const there = await createTestApp({ workers: new FakeWorker(0) }, environment);
  const member = await there.addMember("MEMBER");
  const parameters = { authorization: `Bearer ${member.apiKey}` };
  const socket = await new RawSocket(here.credentials.url, parameters).acknowledged();
  const { apiKey } = (await member.query(ME)).viewer;
  const { revokeApiKey } = await there.owner.query(
    "mutation($id: ID!) { revokeApiKey(input: { id: $id }) { userErrors { message } } }",
    { id: apiKey.id },
  );
  expect(revokeApiKey.userErrors).toEqual([]);
  const from = await rounds(here);
  expect(await socket.closed).toMatchObject({ code: 4403, reason: expect.stringContaining("was revoked") });
  expect((await rounds(here)) - from).toBeLessThanOrEqual(ROUNDS);
  await there.stop();
  await here.stop();
});
