import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import http from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { FakeClock } from "../support/fake-clock.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import { GraphqlClient } from "../support/graphql-client.ts";
import { RawSocket } from "../support/raw-socket.ts";
import { copyTemplate } from "../support/template-data.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: any;
}

/** A request by hand. */
async function request(url: string, init: RequestInit): Promise<Answer> {
  const response = await fetch(url, init);
  const text = await response.text();
  return { status: response.status, headers: response.headers, body: text.startsWith("{") ? JSON.parse(text) : text };
}

describe("attacks", () => {
  let app: TestApp;
  let url: string;
  let anonymous: GraphqlClient;

  beforeAll(async () => {
    app = await createTestApp({ workers: new FakeWorker(0) }, { ALLOWED_ORIGINS: "https://studio.example.org" });
    url = app.credentials.url;
    anonymous = new GraphqlClient(url);
  });
  afterAll(() => app.stop());

  const post = (body: unknown, headers: Record<string, string> = {}): Promise<Answer> =>
    request(url, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${app.credentials.apiKey}`, ...headers },
      body: typeof body === "string" ? body : JSON.stringify(body),
    });
  const firstError = async (query: string, variables: object = {}) =>
    (await app.member.send(query, variables)).errors?.[0];

  test("many root fields under aliases", async () => {
    const aliases = Array.from({ length: 11 }, (_, i) => `a${i}: viewer { role }`).join(" ");
    expect((await firstError(`{ ${aliases} }`))?.message).toContain("10 root fields");
  });

  test("many aliases further down", async () => {
    const aliases = Array.from({ length: 40 }, (_, i) => `a${i}: role`).join(" ");
    expect((await firstError(`{ viewer { ${aliases} } }`))?.message).toMatch(/aliases/i);
  });

  test("fields that are repeated without end", async () => {
    expect((await firstError(`{ viewer { ${"role ".repeat(3000)} } }`))?.extensions["code"]).toBe(
      "GRAPHQL_PARSE_FAILED",
    );
  });

  test("deep queries, also through fragments", async () => {
    const links = Array.from({ length: 14 }, (_, i) => `fragment f${i} on Viewer { ...f${i + 1} }`).join(" ");
    const flat = `{ viewer { ...f0 } } ${links} fragment f14 on Viewer { role }`;
    expect((await firstError(flat))?.message).toMatch(/depth/i);
  });

  test("fragments that contain each other", async () => {
    const query = "{ viewer { ...a } } fragment a on Viewer { ...b } fragment b on Viewer { ...a }";
    expect((await firstError(query))?.message).toContain("Cannot spread fragment");
  });

  test("many directives", async () => {
    expect((await firstError(`{ viewer { role ${"@include(if: true) ".repeat(60)} } }`))?.message).toMatch(
      /directive/i,
    );
  });

  test("pages within pages", async () => {
    const error = await firstError(
      "{ batches(first: 100) { nodes { items(first: 100) { nodes { generation { images { id } } } } } } }",
    );
    expect(error?.extensions["code"]).toBe("TOO_EXPENSIVE");
    expect(error?.message).toMatch(/^This costs \d+ points; one request may cost 5000\./);
  });

  test("pages whose size is hidden in a variable", async () => {
    const query =
      "query ($n: Int!) { batches(first: $n) { nodes { items(first: $n) { nodes { generation { images { id } } } } } } }";
    expect((await firstError(query, { n: 100 }))?.extensions["code"]).toBe("TOO_EXPENSIVE");
    expect(await firstError(query, { n: 10 })).toBeUndefined();
  });

  test("several requests in one body", async () => {
    const { status, body } = await post([{ query: "{ viewer { role } }" }, { query: "{ viewer { role } }" }]);
    expect(status).toBe(400);
    expect(JSON.stringify(body)).toMatch(/batching/i);
  });

  test("looking at the schema without a key", async () => {
    for (const query of ["{ __schema { types { name } } }", '{ __type(name: "Query") { name } }']) {
      expect((await anonymous.send(query)).errors?.[0]?.extensions["code"]).toBe("UNAUTHENTICATED");
    }
    expect((await app.member.query("{ __schema { queryType { name } } }")).__schema.queryType.name).toBe("Query");
  });

  test("guessing names of the schema by its suggestions", async () => {
    for (const query of ["{ viewr { role } }", "{ viewer { rol } }", "query ($a: Strin) { viewer { role } }"]) {
      const { errors } = await anonymous.send(query);
      expect(errors?.length).toBeGreaterThan(0);
      expect(JSON.stringify(errors)).not.toContain("Did you mean");
    }
  });

  test("a probe of __typename tells nothing and needs no key", async () => {
    expect(await anonymous.query("{ __typename }")).toEqual({ __typename: "Query" });
  });

  test("mutations by GET, and by forms of other pages", async () => {
    const query = encodeURIComponent('mutation { cancelGeneration(id: "x") { userErrors { code } } }');
    const authorization = `Bearer ${app.credentials.apiKey}`;
    const get = await request(`${url}?query=${query}`, { headers: { authorization, "x-apollo-operation-name": "a" } });
    expect(get.status).toBe(405);
    for (const type of ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]) {
      const { status } = await post('{"query": "{ viewer { role } }"}', { "content-type": type });
      expect(status, type).toBe(400);
    }
  });

  test("errors never show a stack, a path or a query of the database", async () => {
    const answers = [
      await post("{"),
      await post({ query: "{ viewer {" }),
      await post({ query: '{ generation(id: "gen_AAAAAAAAAAAAAAAAAAAAAA") { id } }' }),
      await post({ query: "query ($a: Int!) { generations(first: $a) { nodes { id } } }", variables: { a: "x" } }),
    ];
    for (const { body } of answers) expect(JSON.stringify(body)).not.toMatch(/node_modules|\/src\/|prisma|select /i);
  });

  test("queries kept by their hash for others to run", async () => {
    const sha256Hash = createHash("sha256").update("{ viewer { role } }").digest("hex");
    const { body } = await post({
      query: "{ viewer { role } }",
      extensions: { persistedQuery: { version: 1, sha256Hash } },
    });
    expect(body.errors[0].extensions.code).toBe("PERSISTED_QUERY_NOT_SUPPORTED");
  });

  test("cursors that were made by hand, or belong to another tenant", async () => {
    const page = (after: string) =>
      `{ generations(first: 5, after: "${after}") { nodes { id } pageInfo { endCursor } } }`;
    for (const cursor of ["", "c_", "c_AAAA", "c_' or 1=1 --", "i_MQ"])
      expect((await firstError(page(cursor)))?.extensions["code"]).toBe("INVALID_INPUT");
    const stranger = await app.addMember("OWNER", { credits: 1_000_000n });
    await stranger.create({ prompt: "theirs" });
    const theirs = (await stranger.query("{ generations(first: 1) { pageInfo { endCursor } } }")).generations;
    expect((await app.member.query(page(theirs.pageInfo.endCursor))).generations.nodes).toEqual([]);
  });

  test("bodies and variables without end", async () => {
    expect((await post({ query: "{ viewer { role } }", variables: { a: "x".repeat(1_100_000) } })).status).toBe(413);
    const items = Array.from({ length: 5000 }, (_, i) => ({ prompt: "a", customId: String(i) }));
    const input = { idempotencyKey: "many", items };
    const create = "mutation ($input: CreateBatchInput!) { createBatch(input: $input) { userErrors { message } } }";
    const { createBatch } = await app.member.query(create, { input });
    expect(createBatch.userErrors[0].message).toContain("1 to 1000 items");
  });

  test("pages of other origins", async () => {
    const allowed = await post({ query: "{ __typename }" }, { origin: "https://studio.example.org" });
    expect(allowed.headers.get("access-control-allow-origin")).toBe("https://studio.example.org");
    const other = await post({ query: "{ __typename }" }, { origin: "https://elsewhere.example.org" });
    expect(other.headers.get("access-control-allow-origin")).toBeNull();
  });

  test("sockets opened by pages of other origins", async () => {
    const status = (origin: string): Promise<number | undefined> =>
      new Promise((resolve, reject) => {
        const upgrade = { connection: "Upgrade", upgrade: "websocket", "sec-websocket-version": "13" };
        const headers = { ...upgrade, "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==", origin };
        const asked = http.get(url, { headers });
        asked.on("response", (response) => resolve(response.resume().statusCode));
        asked.on("upgrade", (response, socket) => {
          socket.destroy();
          resolve(response.statusCode);
        });
        asked.on("error", reject);
      });
    expect(await status("https://elsewhere.example.org")).toBe(403);
    expect(await status("null")).toBe(403);
    expect(await status("https://studio.example.org")).toBe(101);
    expect(await status(new URL(url).origin)).toBe(101);
  });

  test("more sockets than a key may have", async () => {
    const { apiKey } = await app.addMember("MEMBER");
    const open = () => new RawSocket(url, { authorization: `Bearer ${apiKey}` });
    const sockets = await Promise.all(Array.from({ length: 100 }, () => open().acknowledged()));
    expect(await open().closed).toMatchObject({ code: 4429, reason: expect.stringContaining("100 open sockets") });
    sockets[0]!.close();
    await sockets[0]!.closed;
    await (await open().acknowledged()).close();
    for (const socket of sockets) socket.close();
  });

  test("sockets that never say who they are", async () => {
    const socket = new RawSocket(url, undefined);
    expect((await socket.closed).code).toBe(4408);
  });

  test("more subscriptions than a socket may have", async () => {
    const id = await app.member.create({ prompt: "watched" });
    const socket = await new RawSocket(url, { authorization: `Bearer ${app.credentials.apiKey}` }).acknowledged();
    const query = "subscription ($id: ID!) { generationEvents(id: $id) { seq } }";
    for (let i = 0; i <= 100; i++) socket.subscribe(String(i), query, { id });
    for (;;) {
      const message = await socket.next();
      if (message.type !== "error") continue;
      expect(message.payload[0].message).toContain("100 operations");
      break;
    }
    socket.close();
  });

  test("expensive operations and the schema over a socket", async () => {
    const socket = await new RawSocket(url, { authorization: `Bearer ${app.credentials.apiKey}` }).acknowledged();
    socket.subscribe("1", "{ batches(first: 100) { nodes { items(first: 100) { nodes { generation { id } } } } } }");
    const { type, payload } = await socket.next();
    expect(type).toBe("error");
    expect(payload[0].extensions.code).toBe("TOO_EXPENSIVE");
    socket.subscribe("2", "{ viewer { role } }");
    expect((await socket.next()).payload.extensions.cost).toEqual({ requested: 1, maximum: 5000 });
    socket.close();
    const nobody = await new RawSocket(url, {}).acknowledged();
    nobody.subscribe("1", "{ __schema { types { name } } }");
    expect((await nobody.next()).payload[0].extensions.code).toBe("UNAUTHENTICATED");
    nobody.close();
  });

  test("headers that trickle in", async () => {
    const { port } = new URL(url);
    const closed = new Promise<string>((resolve) => {
      let text = "";
      const socket = connect(Number(port), "127.0.0.1", () =>
        socket.write("POST /graphql HTTP/1.1\r\nhost: x\r\nx-a: "),
      );
      socket.on("data", (data) => {
        text += String(data);
      });
      socket.on("close", () => resolve(text));
    });
    expect(await closed).toMatch(/^HTTP\/1\.1 408/);
  }, 60_000);
});

describe("the rate limit", () => {
  let app: TestApp;
  const clock = new FakeClock();

  beforeAll(async () => {
    const environment = { RATE_LIMIT_POINTS: "100", RATE_LIMIT_POINTS_PER_SECOND: "10" };
    app = await createTestApp({ workers: new FakeWorker(0), clock }, environment);
  });
  afterAll(() => app.stop());

  const PAGE = "{ generations(first: 20) { nodes { id } } }";
  const ask = async (client: GraphqlClient): Promise<Answer> =>
    request(client.url, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${client.apiKey}` },
      body: JSON.stringify({ query: PAGE }),
    });

  test("is told with every answer, and for the asking", async () => {
    const member = await app.addMember("MEMBER");
    const { extensions } = (await ask(member)).body;
    expect(extensions.cost).toEqual({ requested: 21, maximum: 5000 });
    expect(extensions.rateLimit).toMatchObject({ limit: 100, remaining: 79, restorePerSecond: 10 });
    const { viewer } = await member.query("{ viewer { rateLimit { limit remaining restorePerSecond resetAt } } }");
    expect(viewer.rateLimit).toMatchObject({ limit: 100, remaining: 77, restorePerSecond: 10 });
  });

  test("refuses what is not left with the time to wait, keeps callers apart, and comes back with time", async () => {
    const [member, colleague] = [await app.addMember("MEMBER"), await app.addMember("MEMBER")];
    for (let i = 0; i < 4; i++) expect((await ask(member)).status).toBe(200);
    const { status, body } = await ask(member);
    expect(status).toBe(429);
    expect(body.errors[0]).toMatchObject({
      message: "This costs 21 points, more than your rate limit has left. Try again in 1 s.",
      extensions: { code: "RATE_LIMITED", retryable: true, retryAfterMs: 500 },
    });
    expect((await ask(colleague)).status).toBe(200);
    clock.advance(500);
    expect((await ask(member)).status).toBe(200);
    expect((await ask(member)).status).toBe(429);
  });
});

describe("trusted documents", () => {
  test("are all that runs, by id or text, over HTTP and sockets", async () => {
    const dataDir = copyTemplate(inject("templateData"));
    const text = "{ viewer { role } }";
    const id = createHash("sha256").update(text).digest("hex");
    const file = join(dataDir, "documents.json");
    writeFileSync(file, JSON.stringify({ [id]: text }));
    const environment = { DATA_DIR: dataDir, TRUSTED_DOCUMENTS: file };
    const app = await createTestApp({ workers: new FakeWorker(0) }, environment);
    try {
      const authorization = `Bearer ${app.credentials.apiKey}`;
      const post = (body: object) =>
        request(app.credentials.url, {
          method: "POST",
          headers: { "content-type": "application/json", authorization },
          body: JSON.stringify(body),
        });
      expect((await post({ documentId: `sha256:${id}` })).body.data).toEqual({ viewer: { role: "MEMBER" } });
      expect((await post({ query: text })).body.data).toEqual({ viewer: { role: "MEMBER" } });
      const { status, body } = await post({ query: "{ viewer { isPlatformAdmin } }" });
      expect(status).toBe(403);
      expect(body.errors[0].extensions.code).toBe("FORBIDDEN");
      expect((await post({ documentId: "sha256:0" })).status).toBe(403);
      const socket = await new RawSocket(app.credentials.url, { authorization }).acknowledged();
      socket.subscribe("1", "{ viewer { isPlatformAdmin } }");
      expect((await socket.next()).payload[0].extensions.code).toBe("FORBIDDEN");
      socket.subscribe("2", text);
      expect((await socket.next()).payload.data).toEqual({ viewer: { role: "MEMBER" } });
      socket.close();
    } finally {
      await app.stop();
    }
  });
});
