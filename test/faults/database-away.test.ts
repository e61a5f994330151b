import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ApiClient } from "../../src/cli/api-client.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import { CREATE, newInput } from "../support/graphql-client.ts";
import { hasPostgres, type PostgresServer, startPostgres } from "../support/postgres-server.ts";
import { RawSocket } from "../support/raw-socket.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";
import { until } from "../support/until.ts";
import { createUpload, send } from "../support/uploads.ts";

if (!hasPostgres) test.skip("a database that is away: there is no PostgreSQL on this machine", () => {});

/** Whatever it is sent from now on. */
async function drawAll(worker: FakeWorker): Promise<void> {
  for (;;)
    await (await worker.nextCall())
      .started()
      .succeed()
      .catch(() => {});
}

describe.runIf(hasPostgres)("while its PostgreSQL is away, a server", () => {
  let postgres: PostgresServer;
  let worker: FakeWorker;
  let app: TestApp;
  beforeAll(async () => {
    postgres = await startPostgres({ fsync: "off" });
    worker = new FakeWorker();
    app = await createTestApp({ workers: worker }, { DATABASE_URL: await postgres.createDatabase() });
  });
  afterAll(async () => {
    await app.stop();
    postgres.stop();
  });

  const status = async (path: string): Promise<number> => (await fetch(new URL(path, app.member.url))).status;

  test("lives, is not ready, and refuses with a code, a time and what to do; afterwards all is as before", async () => {
    const target = await createUpload(app.member, "PICTURE");
    const events = app.member.events(await app.member.create({ prompt: "watched meanwhile" }));
    expect((await events.next()).value).toMatchObject({ __typename: "QueuedEvent" });
    const call = await worker.nextCall();
    const input = newInput({ prompt: "asked for meanwhile" });

    await postgres.kill();
    const refusal = {
      extensions: { code: "UNAVAILABLE", retryable: true, retryAfterMs: 2000 },
      message: expect.stringMatching(/cannot be reached.*Try again.*idempotency key/),
    };
    for (const query of ["{ viewer { tenant { name } } }", CREATE]) {
      const { url, apiKey } = app.member;
      const headers = { "content-type": "application/json", authorization: `Bearer ${apiKey}` };
      const response = await fetch(url, {
        method: "POST",
        headers,
        body: JSON.stringify({ query, variables: { input } }),
      });
      expect([response.status, response.headers.get("retry-after")]).toEqual([503, "2"]);
      expect(((await response.json()) as any).errors).toMatchObject([refusal]);
    }
    const sent = await send(target, Buffer.from("x"));
    expect([sent.status, sent.headers.get("retry-after"), await sent.text()]).toEqual([503, "5", expect.any(String)]);
    expect([await status("/healthz"), await status("/readyz")]).toEqual([200, 503]);

    await postgres.restart();
    const created = await until(async () => {
      const { data, errors } = await app.member.send(CREATE, { input });
      expect(errors).toBeUndefined();
      return data.createGeneration;
    });
    expect(created).toMatchObject({ replayed: false, userErrors: [] });
    expect(await status("/readyz")).toBe(200);
    void drawAll(worker);
    await call
      .started()
      .succeed()
      .catch(() => {}); // its dispatcher may have given it up
    await until(async () => expect((await events.next()).value).toMatchObject({ __typename: "FinishedEvent" }));
  });

  test("tells who connects or subscribes to come back, and closes nothing that is open; clients that wait see all", async () => {
    const { url, apiKey = "" } = app.member;
    const key = { authorization: `Bearer ${apiKey}` };
    const id = await app.member.create({ prompt: "asked for before" });
    const open = await new RawSocket(url, key).acknowledged();
    const reasons: string[] = [];
    const onBegin = (reason: string) => void reasons.push(reason);
    const client = new ApiClient({ url, apiKey, file: "" }, { patienceMs: 60_000, retryMs: 50, onBegin });

    await postgres.kill();
    const events = client.events(id);
    const first = events.next();
    const refused = new RawSocket(url, key);
    expect(await refused.closed).toMatchObject({ code: 1013, reason: expect.stringMatching(/cannot be reached.*Try/) });
    open.subscribe("1", "{ viewer { role } }");
    expect(await Promise.race([open.next(), open.closed])).toMatchObject({
      type: "error",
      id: "1",
      payload: [{ extensions: { code: "UNAVAILABLE", retryable: true, retryAfterMs: 2000 } }],
    });
    await until(async () => expect(reasons).toEqual([expect.stringMatching(/cannot be reached/)]));

    await postgres.restart();
    await until(async () => {
      open.subscribe("2", "{ viewer { role } }");
      expect((await open.next()).payload).toMatchObject({ data: { viewer: { role: "MEMBER" } } });
      expect(await open.next()).toMatchObject({ type: "complete", id: "2" });
    });
    expect((await first).value).toMatchObject({ __typename: "QueuedEvent" });
    for (;;) if ((await events.next()).value?.__typename === "FinishedEvent") break;
    open.close();
  });
});
