import { afterAll, beforeAll, describe, expect, test } from "vitest";
import WebSocket from "ws";
import { asPlatform } from "../../src/platform/access.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import { RawSocket } from "../support/raw-socket.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";

describe("a socket", () => {
  let app: TestApp;
  const EVENTS = "subscription ($id: ID!) { generationEvents(id: $id, afterSeq: 0) { seq } }";
  const open = (authorization?: string): RawSocket =>
    new RawSocket(app.credentials.url, authorization === undefined ? {} : { authorization });
  const bearer = () => `Bearer ${app.credentials.apiKey}`;

  beforeAll(async () => {
    app = await createTestApp({ workers: new FakeWorker() });
  });
  afterAll(() => app.stop());

  test("with a key that does not work is closed, and told why", async () => {
    const { code, reason } = await open("Bearer atl_wrong").closed;
    expect(code).toBe(4403);
    expect(reason).toMatch(/^This API key is not valid/);
  });

  test("whose key is revoked is closed at its next operation", async () => {
    const member = await app.addMember("MEMBER");
    const socket = await open(`Bearer ${member.apiKey}`).acknowledged();
    socket.subscribe("1", "{ viewer { role } }");
    expect((await socket.next()).payload).toMatchObject({ data: { viewer: { role: "MEMBER" } } });
    await app.db.transaction(
      asPlatform,
      (tx) => tx.$executeRaw`update api_key set revoked_at = now() where name = 'test' and revoked_at is null`,
    );
    socket.subscribe("2", "{ viewer { role } }");
    expect((await socket.closed).code).toBe(4403);
  });

  test("answers text that is no GraphQL, or too much of it, with an error, and goes on", async () => {
    const socket = await open(bearer()).acknowledged();
    const aliases = Array.from({ length: 1000 }, (_, i) => `a${i}: __typename`).join(" ");
    for (const [query, message] of [
      ["{ viewer {", "Syntax Error"],
      ["{ nothing }", 'Cannot query field "nothing"'],
      [`{ ${aliases} }`, "token"],
    ] as const) {
      socket.subscribe("1", query);
      const { type, payload } = await socket.next();
      expect(type).toBe("error");
      expect(payload[0].message).toContain(message);
    }
    socket.subscribe("2", "{ viewer { role } }");
    expect((await socket.next()).payload.data.viewer.role).toBe("MEMBER");
    socket.close();
  });

  test("has a bounded number of operations", async () => {
    const id = await app.member.create({ prompt: "watched" });
    const socket = await open(bearer()).acknowledged();
    for (let i = 0; i < 101; i++) socket.subscribe(String(i), EVENTS, { id });
    for (;;) {
      const { type, id, payload } = await socket.next();
      if (type !== "error") continue;
      expect(id).toBe("100");
      expect(payload[0].message).toBe("A socket may have 100 operations at a time. Open another one.");
      break;
    }
    socket.close();
  });

  test("elsewhere than at the API is refused", async () => {
    const socket = new WebSocket(app.credentials.url.replace("http", "ws").replace("/graphql", "/elsewhere"));
    await expect(new Promise((_, reject) => socket.on("error", reject))).rejects.toThrow("404");
  });
});

test("a request has a bounded number of root fields, over either transport", async () => {
  const app = await createTestApp({ workers: new FakeWorker() });
  const query = `{ ${Array.from({ length: 11 }, (_, i) => `a${i}: viewer { role }`).join(" ")} }`;
  const refusal = "A request may have 10 root fields. Send several requests.";
  expect((await app.member.send(query)).errors?.[0]?.message).toBe(refusal);
  const socket = await new RawSocket(app.credentials.url, {}).acknowledged();
  socket.subscribe("1", query);
  expect((await socket.next()).payload[0].message).toBe(refusal);
  socket.close();
  await app.stop();
});
