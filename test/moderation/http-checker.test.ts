import { createHmac } from "node:crypto";
import { afterEach, beforeEach, expect, test } from "vitest";
import { HttpChecker } from "../../src/moderation/http-checker.ts";
import type { Logger } from "../../src/platform/logger.ts";
import { type Answer, allow, block, CheckerService, fail, hang } from "../support/checker-service.ts";
import { FakeClock } from "../support/fake-clock.ts";

const SECRET = "a secret of the two of us";
const TIMEOUT_MS = 2000;
const QUESTION = { stage: "PROMPT", texts: [{ field: "prompt", text: "a heron" }] };

let service: CheckerService;
let clock: FakeClock;
let checker: HttpChecker;
let log: object[];

beforeEach(async () => {
  service = new CheckerService();
  clock = new FakeClock();
  log = [];
  const logger = { warn: (facts: object) => log.push(facts) } as unknown as Logger;
  checker = new HttpChecker({ url: await service.start(), secret: SECRET, timeoutMs: TIMEOUT_MS, clock, logger });
});
afterEach(() => service.stop());

const ask = (signal = new AbortController().signal) => checker.ask(QUESTION, { stage: "PROMPT" }, signal);
const answerOnce = (first: Answer): void => {
  service.answer = (...args) => {
    service.answer = allow;
    return first(...args);
  };
};

test("asks with one signed POST, and takes a verdict with a category", async () => {
  service.answer = block;
  expect(await ask()).toEqual({ verdict: "BLOCK", category: "wildlife" });
  const [{ headers, text, body } = { headers: {}, text: "", body: {} }] = service.questions;
  expect(body).toEqual(QUESTION);
  const signed = `${headers["webhook-id"]}.${headers["webhook-timestamp"]}.${text}`;
  const signature = createHmac("sha256", SECRET).update(signed).digest("base64");
  expect(headers["webhook-signature"]).toBe(`v1,${signature}`);
  expect(Number(headers["webhook-timestamp"])).toBe(clock.now().getTime() / 1000);
});

test.each<[string, Answer]>([
  ["an error of the service", fail(503)],
  ["too many questions", fail(429)],
  ["a connection that is cut before the answer", (_, response) => void response.destroy()],
  [
    "an answer that is cut in the middle",
    (_, response) => {
      response.writeHead(200, { "content-length": 100 }).write('{"verdict":');
      setTimeout(() => response.destroy(), 20);
    },
  ],
])("asks again after %s, under the same id", async (_, answer) => {
  answerOnce(answer);
  expect(await ask()).toEqual({ verdict: "ALLOW" });
  expect(service.questions.map(({ headers }) => headers["webhook-id"])).toHaveLength(2);
  expect(new Set(service.questions.map(({ headers }) => headers["webhook-id"])).size).toBe(1);
});

const MISTAKES: readonly [string, Answer, object][] = [
  ["no JSON", (_, response) => void response.end("fine by me"), { reason: "answer is no verdict" }],
  ["another verdict", () => ({ verdict: "MAYBE" }), { reason: "answer is no verdict" }],
  ["more than a verdict", () => ({ verdict: "ALLOW", because: "a heron" }), { reason: "answer is no verdict" }],
  [
    "a category that is a text",
    () => ({ verdict: "BLOCK", category: "x".repeat(65) }),
    { reason: "answer is no verdict" },
  ],
  ["an empty answer", (_, response) => void response.end(), { reason: "answer is no verdict" }],
  ["a refusal of the question", fail(403), { reason: "status 403" }],
  [
    "another status",
    (_, response) => void response.writeHead(201).end('{"verdict":"ALLOW"}'),
    { reason: "status 201" },
  ],
];
test.each(MISTAKES)(
  "takes no answer that is wrong, and does not repeat the question: %s",
  async (_, answer, reason) => {
    service.answer = answer;
    expect(await ask()).toBeUndefined();
    expect(service.questions).toHaveLength(1);
    expect(log).toEqual([{ stage: "PROMPT", ...reason }]);
  },
);

test("reads no more of an answer than a verdict can have", async () => {
  let sent = 0;
  service.answer = (_, response) => {
    response.writeHead(200);
    const more = (): void => {
      while (!response.destroyed && response.write(" ".repeat(4096))) sent += 4096;
      if (!response.destroyed) response.once("drain", more);
    };
    more();
  };
  expect(await ask()).toBeUndefined();
  expect(log).toMatchObject([{ reason: "answer too large" }]);
  await expect.poll(() => service.open).toBe(0);
  expect(sent).toBeLessThan(16 * 1024 * 1024);
});

test("follows no redirect", async () => {
  const elsewhere = new CheckerService();
  const url = await elsewhere.start();
  service.answer = (_, response) => void response.writeHead(307, { location: url }).end();
  expect(await ask()).toBeUndefined();
  expect(elsewhere.questions).toEqual([]);
  await elsewhere.stop();
});

test.each<[string, Answer, string]>([
  ["never answers", hang, "timeout"],
  [
    "answers ever more slowly",
    (_, response) => {
      response.writeHead(200).write("{");
      const timer = setInterval(() => response.write(" "), 50);
      response.on("close", () => clearInterval(timer));
    },
    "timeout",
  ],
  ["always fails", fail(500), "status 500"],
])("gives up within its time on a service that %s", async (_, answer, reason) => {
  service.answer = answer;
  const begun = Date.now();
  expect(await ask()).toBeUndefined();
  expect(Date.now() - begun).toBeLessThan(TIMEOUT_MS + 30_000);
  expect(service.questions.length).toBe(reason === "timeout" ? 1 : 3);
  expect(log).toEqual([{ stage: "PROMPT", reason }]);
  await expect.poll(() => service.open).toBe(0);
});

test("leaves a service alone for five seconds that gave no verdict five times in a row", async () => {
  service.answer = fail(400);
  for (let i = 0; i < 5; i++) expect(await ask()).toBeUndefined();
  service.answer = allow;
  expect(await ask()).toBeUndefined();
  expect(service.questions).toHaveLength(5);
  clock.advance(5000);
  expect(await ask()).toEqual({ verdict: "ALLOW" });
});

test("ends when the caller does not want to know any more", async () => {
  service.answer = hang;
  const caller = new AbortController();
  const asking = ask(caller.signal);
  await expect.poll(() => service.questions).toHaveLength(1);
  caller.abort(new Error("no more"));
  await expect(asking).rejects.toThrow("no more");
  await expect.poll(() => service.open).toBe(0);
  expect(log).toEqual([]);
});
