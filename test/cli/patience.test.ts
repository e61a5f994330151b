import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { afterEach, expect, test } from "vitest";
import { ApiClient } from "../../src/cli/api-client.ts";
import { draw } from "../../src/cli/generate.ts";
import { ProgressLine } from "../../src/cli/progress-line.ts";

const TASK = { textToImage: { prompt: "a red circle" } };

let server: Server | undefined;
afterEach(() => void server?.close());

const hangUp = (response: ServerResponse): void => void response.socket?.destroy();

/** A client of a server whose first `losses` requests are cut off before their answer, or get another one. */
async function setup(losses: number, lose = hangUp) {
  const keys: string[] = [];
  const started = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk: Buffer) => {
      body += chunk.toString("utf8");
    });
    request.on("end", () => {
      if (request.headers.upgrade === "websocket") {
        response.writeHead(404).end();
        return;
      }
      keys.push(JSON.parse(body).variables.input.idempotencyKey);
      if (keys.length <= losses) lose(response);
      else response.end('{"data": {"createGeneration": {"generation": {"id": "gen_1"}, "userErrors": []}}}');
    });
  }).listen(0, "127.0.0.1");
  server = started;
  await new Promise((resolve) => started.once("listening", resolve));
  const outages: string[] = [];
  const url = `http://127.0.0.1:${(started.address() as AddressInfo).port}/graphql`;
  const client = new ApiClient(
    { url, apiKey: "x", file: "credentials.json" },
    { patienceMs: 300, retryMs: 1, onBegin: (reason) => outages.push(reason) },
  );
  return { client, keys, outages };
}

test("a lost answer is asked for again with the same key, so that nothing is queued twice", async () => {
  const { client, keys, outages } = await setup(3);
  expect(await client.create(TASK, undefined)).toBe("gen_1");
  expect(keys).toHaveLength(4);
  expect(new Set(keys).size).toBe(1);
  expect(outages).toHaveLength(1);
});

test("what a server cannot do for a while is asked for again with the same key", async () => {
  const error = { message: "The database cannot be reached.", extensions: { code: "UNAVAILABLE", retryable: true } };
  const { client, keys, outages } = await setup(3, (response) => response.end(JSON.stringify({ errors: [error] })));
  expect(await client.create(TASK, undefined)).toBe("gen_1");
  expect(keys).toHaveLength(4);
  expect(new Set(keys).size).toBe(1);
  expect(outages).toEqual([error.message]);
});

test("so is a mutation that its payload refuses for a while, after the pause that the server asks for", async () => {
  const error = { code: "UNAVAILABLE", message: "The server has no room to store this.", retryAfterMs: 40 };
  const payload = { generation: null, userErrors: [error] };
  const { client, keys, outages } = await setup(2, (response) =>
    response.end(JSON.stringify({ data: { createGeneration: payload } })),
  );
  const begunAt = performance.now();
  expect(await client.create(TASK, undefined)).toBe("gen_1");
  expect(performance.now() - begunAt).toBeGreaterThanOrEqual(78); // timers may be a millisecond early
  expect(keys).toHaveLength(3);
  expect(new Set(keys).size).toBe(1);
  expect(outages).toEqual([error.message]);
});

test("and a first call that the server refuses as a whole", async () => {
  const error = { message: "The database cannot be reached.", extensions: { code: "UNAVAILABLE", retryAfterMs: 1 } };
  const { client, keys, outages } = await setup(1, (response) =>
    response.writeHead(503, { "retry-after": "1" }).end(JSON.stringify({ errors: [error] })),
  );
  expect(await client.create(TASK, undefined)).toBe("gen_1");
  expect(new Set(keys).size).toBe(1);
  expect(outages).toEqual([error.message]);
});

test("what the payload refuses for good is not repeated", async () => {
  const userErrors = [{ code: "QUOTA_EXHAUSTED", message: "No credits are left.", retryAfterMs: null }];
  const answer = { data: { createGeneration: { generation: null, userErrors } } };
  const { client, keys } = await setup(1, (response) => response.end(JSON.stringify(answer)));
  await expect(client.create(TASK, undefined)).rejects.toThrow("No credits are left.");
  expect(keys).toHaveLength(1);
});

test("the patience with a server that cannot do it has an end, whatever pause it asks for", async () => {
  const error = { message: "No room.", extensions: { code: "UNAVAILABLE", retryAfterMs: 3600_000 } };
  const { client } = await setup(Number.POSITIVE_INFINITY, (response) =>
    response.end(JSON.stringify({ errors: [error] })),
  );
  await expect(client.create(TASK, undefined)).rejects.toThrow("The server could not do it for 0.3 s (No room.).");
});

test("the patience has an end", async () => {
  const { client } = await setup(Number.POSITIVE_INFINITY);
  await expect(client.create(TASK, undefined)).rejects.toThrow(/^The server has not answered for 0\.3 s/);
});

test("the end of it names the generation, and how to fetch it later", async () => {
  const { client } = await setup(0);
  const drawing = draw(
    { makeTask: async () => TASK, preset: undefined },
    {
      client,
      progress: new ProgressLine(process.stderr),
      out: "circle.png",
      folder: tmpdir(),
      stop: new AbortController().signal,
      say: () => {},
      resumeCommand: (id) => `resume ${id}`,
    },
  );
  await expect(drawing).rejects.toThrow(
    "The server has not answered for 0.3 s (Unexpected server response: 404). Nothing is lost: once the server runs again it finishes gen_1. Fetch it with\n  resume gen_1",
  );
});
