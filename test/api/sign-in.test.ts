import { generateKeyPair, SignJWT, UnsecuredJWT } from "jose";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { asPlatform } from "../../src/platform/access.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import { CREATE, GraphqlClient, newInput } from "../support/graphql-client.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";
import { AUDIENCE, TokenIssuer } from "../support/token-issuer.ts";
import { until } from "../support/until.ts";

const ME = "{ viewer { user { id name } role apiKey { id } tenant { id name } tenants { id name role } } }";
const ADD = `mutation($input: AddMemberInput!) { addMember(input: $input) { member { user { id } } userErrors { message } } }`;
const CREATE_TENANT = `mutation($input: CreateTenantInput!) {
  createTenant(input: $input) { tenant { id } userErrors { message } }
}`;

describe("people who sign in", () => {
  let app: TestApp;
  let issuer: TokenIssuer;
  beforeAll(async () => {
    issuer = await TokenIssuer.start();
    app = await createTestApp({ workers: new FakeWorker(0) }, issuer.environment);
  });
  afterAll(async () => {
    await app.stop();
    await issuer.stop();
  });

  /** The answer to a token, with the status of its transport. */
  const ask = async (token: string, { tenant, query = ME }: { tenant?: string; query?: string } = {}) => {
    const response = await fetch(app.credentials.url, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        authorization: `Bearer ${token}`,
        ...(tenant === undefined ? {} : { "x-tenant": tenant }),
      },
      body: JSON.stringify({ query }),
    });
    const { data, errors } = (await response.json()) as any;
    return { status: response.status, data, error: errors?.[0] };
  };
  const add = async (name: string, role = "MEMBER") => {
    const input = { name, email: `${name}@example.org`, role };
    const { addMember } = await app.owner.query(ADD, { input });
    expect(addMember.userErrors).toEqual([]);
    return addMember.member.user.id;
  };

  test("are the member with their verified e-mail address from the first time on, whatever it is later", async () => {
    const id = await add("ada");
    const first = await ask(await issuer.token({ sub: "subject-of-ada", email: "Ada@example.org" }));
    expect(first.data.viewer).toMatchObject({ user: { id, name: "ada" }, role: "MEMBER", apiKey: null });
    const later = await ask(await issuer.token({ sub: "subject-of-ada", email: "countess@example.org" }));
    expect(later.data.viewer.user.id).toBe(id);
    // The address was given to someone else, or so they say.
    const other = await ask(await issuer.token({ sub: "someone-else", email: "ada@example.org" }));
    expect(other).toMatchObject({ status: 401, error: { message: expect.stringContaining("Nobody here is known") } });
  });

  test("are nobody with an address that the issuer has not verified", async () => {
    await add("bea");
    const token = await issuer.token({ sub: "bea", email: "bea@example.org", email_verified: false });
    expect(await ask(token)).toMatchObject({ status: 401, error: { message: expect.stringContaining("verify it") } });
  });

  test("draw without a key, and what they made is theirs", async () => {
    await add("cleo");
    const token = await issuer.token({ sub: "cleo", email: "cleo@example.org" });
    const cleo = new GraphqlClient(app.credentials.url, token);
    const { createGeneration } = await cleo.query(CREATE, { input: newInput({ prompt: "x" }) });
    expect((await cleo.generation(createGeneration.generation.id)).state).toBe("QUEUED");
    const [row] = await app.db.transaction(asPlatform, (tx) => tx.generation.findMany({ where: { apiKeyId: null } }));
    expect(row?.settings).toMatchObject({ prompt: "x" });
  });

  test("name one of their tenants when they have several; another's is as absent as none", async () => {
    await add("dora");
    const owner = { name: "dora", email: "dora@example.org" };
    const { createTenant } = await app.owner.query(CREATE_TENANT, { input: { name: "Dora's", owner } });
    const token = await issuer.token({ sub: "dora", email: "dora@example.org" });
    const own = createTenant.tenant.id;
    expect((await ask(token, { tenant: own })).data.viewer).toMatchObject({
      role: "OWNER",
      tenant: { name: "Dora's" },
      tenants: [
        { name: "Atelier", role: "MEMBER" },
        { id: own, name: "Dora's", role: "OWNER" },
      ],
    });
    const unnamed = await ask(token);
    expect(unnamed.status).toBe(400);
    expect(unnamed.error).toMatchObject({
      extensions: { code: "INVALID_INPUT" },
      message: expect.stringContaining(own),
    });
    const input = { name: "Others'", owner: { name: "eve", email: "eve@example.org" } };
    const others = (await app.owner.query(CREATE_TENANT, { input })).createTenant.tenant.id;
    const answers = await Promise.all([others, "ten_AAAAAAAAAAAAAAAAAAAAAA"].map((tenant) => ask(token, { tenant })));
    for (const { status, error } of answers) expect([status, error.extensions.code]).toEqual([404, "NOT_FOUND"]);
    expect(answers[0]?.error.message.replace(others, "x")).toBe(
      answers[1]?.error.message.replace("ten_AAAAAAAAAAAAAAAAAAAAAA", "x"),
    );
    // A key acts for its own tenant only.
    expect((await ask(app.credentials.apiKey, { tenant: own })).error.extensions.code).toBe("NOT_FOUND");
    const { tenant } = (await ask(app.credentials.apiKey)).data.viewer;
    expect((await ask(app.credentials.apiKey, { tenant: tenant.id })).data.viewer.role).toBe("MEMBER");
  });

  test("who are members of no tenant are told so", async () => {
    const id = await add("fay");
    const token = await issuer.token({ sub: "fay", email: "fay@example.org" });
    expect((await ask(token)).status).toBe(200);
    await app.owner.query("mutation($id: ID!) { removeMember(input: { userId: $id }) { userErrors { code } } }", {
      id,
    });
    expect(await ask(token)).toMatchObject({ status: 403, error: { extensions: { code: "FORBIDDEN" } } });
  });

  test("are refused with words that say why", async () => {
    const now = Math.floor(Date.now() / 1000);
    const stranger = await generateKeyPair("ES256");
    const claims = { iss: issuer.url, aud: AUDIENCE, sub: "x", exp: now + 60 };
    const [header, , signature] = (await issuer.token({ sub: "x" })).split(".");
    const forged = [header, Buffer.from(JSON.stringify({ ...claims, sub: "ada" })).toString("base64url"), signature];
    const cases: [string, string, RegExp][] = [
      ["expired", await issuer.token({ sub: "x", exp: now - 60 }), /has expired. Sign in again/],
      ["not valid yet", await issuer.token({ sub: "x", nbf: now + 600 }), /claim "nbf"/],
      ["for another audience", await issuer.token({ sub: "x", aud: "other" }), /another audience.*"atelier-test"/],
      ["from another issuer", await issuer.token({ sub: "x", iss: "https://other.example" }), /another issuer/],
      ["without a subject", await issuer.token(), /claim "sub"/],
      ["without an end", await issuer.token({ sub: "x", exp: undefined! }), /claim "exp"/],
      ["not signed", new UnsecuredJWT(claims).encode(), /not signed with RS256 or ES256/],
      [
        "signed with a shared secret",
        await new SignJWT(claims).setProtectedHeader({ alg: "HS256" }).sign(Buffer.from(issuer.url.padEnd(64))),
        /not signed with RS256 or ES256/,
      ],
      [
        "signed with an unknown key",
        await new SignJWT(claims).setProtectedHeader({ alg: "ES256", kid: "other" }).sign(stranger.privateKey),
        /key that .* does not publish/,
      ],
      [
        "signed with another key of the same name",
        await new SignJWT(claims).setProtectedHeader({ alg: "ES256", kid: "key-1" }).sign(stranger.privateKey),
        /not valid/,
      ],
      ["changed", forged.join("."), /not valid/],
      ["no token at all", "a.b.c", /not valid/],
    ];
    for (const [name, token, message] of cases) {
      const { status, error } = await ask(token);
      expect([status, error.extensions.code], name).toEqual([401, "UNAUTHENTICATED"]);
      expect(error.message, name).toMatch(message);
    }
  });

  test("go on when the issuer changes its keys, and are told when it cannot be reached", async () => {
    await add("gus");
    const claims = { sub: "gus", email: "gus@example.org" };
    const old = await issuer.token(claims);
    expect((await ask(old)).status).toBe(200);
    issuer.isDown = true;
    expect((await ask(old)).status).toBe(200); // its keys are known
    await issuer.rotate("RS256");
    const fresh = await issuer.token(claims);
    await until(async () => expect(await ask(fresh)).toMatchObject({ status: 503 }));
    expect((await ask(fresh)).error).toMatchObject({
      message: expect.stringMatching(/cannot be reached|does not publish/),
    });
    issuer.isDown = false;
    await until(async () => expect((await ask(fresh)).status).toBe(200));
    expect((await ask(old)).status).toBe(401);
  });
});

test("a server that starts while the issuer is down signs people in once it is up", async () => {
  const issuer = await TokenIssuer.start();
  issuer.isDown = true;
  const app = await createTestApp({ workers: new FakeWorker(0) }, issuer.environment);
  const client = new GraphqlClient(app.credentials.url, await issuer.token({ sub: "x" }));
  expect((await client.send(ME)).errors?.[0]?.extensions).toMatchObject({ code: "UNAVAILABLE", retryable: true });
  issuer.isDown = false;
  expect((await client.send(ME)).errors?.[0]?.message).toContain("Nobody here is known");
  await app.stop();
  await issuer.stop();
});
