import fs from "node:fs";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { newSecret } from "../../src/auth/api-key.ts";
import { asPlatform } from "../../src/platform/access.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import { CREATE, GraphqlClient, newInput } from "../support/graphql-client.ts";
import { RawSocket } from "../support/raw-socket.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";

const PROMPT = "a heron that nobody else may know of";
const STDERR = 2;

let app: TestApp;
/** Writes as ever. */
const write = vi.spyOn(fs, "writeSync");

beforeAll(async () => {
  app = await createTestApp({ workers: new FakeWorker(0) }, { LOG_LEVEL: "trace" });
});
afterAll(async () => {
  write.mockRestore();
  await app.stop();
});

const asOwner = (sql: string) =>
  app.db.transaction(asPlatform, async (tx) => {
    await tx.$executeRaw`select set_config('role', 'none', true)`;
    await tx.$executeRawUnsafe(sql);
  });

test("neither keys nor prompts nor signed links reach the log, whatever fails", async () => {
  const { url, apiKey, adminApiKey } = app.credentials;
  const wrong = newSecret();
  const create = (client: GraphqlClient) => client.send(CREATE, { input: newInput({ prompt: PROMPT }) });

  expect((await create(app.member)).data.createGeneration.userErrors).toEqual([]);
  expect((await create(new GraphqlClient(url, wrong))).errors?.[0]?.extensions["code"]).toBe("UNAUTHENTICATED");
  await asOwner("alter table generation add constraint broken check (settings is null) not valid");
  expect((await create(app.member)).errors?.[0]?.extensions["code"]).toBe("INTERNAL");
  await asOwner("alter table generation drop constraint broken");
  await asOwner("alter table idempotency_record rename to broken");
  expect((await create(app.member)).errors?.[0]?.extensions["code"]).toBe("INTERNAL");
  await asOwner("alter table broken rename to idempotency_record");
  await app.member.send(`{ generation(id: "${PROMPT}") { id } }`);
  await app.member.send(`{ ${PROMPT} }`);
  await new RawSocket(url, { authorization: `Bearer ${wrong}` }).closed;
  const upload = await app.member.query(UPLOAD);
  const link = new URL(upload.createUpload.target.url);
  link.searchParams.set("expires", "1");
  await fetch(link, { method: "PUT", body: PROMPT });

  const log = write.mock.calls
    .filter(([fd]) => fd === STDERR)
    .map(([, text]) => String(text))
    .join("");
  expect(log.match(/request failed/g)).toHaveLength(2);
  for (const secret of [PROMPT, apiKey, adminApiKey, wrong, link.searchParams.get("signature") ?? "signature"])
    expect(log).not.toContain(secret);
});

const UPLOAD = "mutation { createUpload(input: { purpose: PICTURE }) { target { url } userErrors { code } } }";
