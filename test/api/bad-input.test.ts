import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { asPlatform } from "../../src/platform/access.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import { CANCEL, CREATE, GraphqlClient, newInput } from "../support/graphql-client.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";

describe("bad input gets one clear error that says what to do, and leaves nothing behind", () => {
  let app: TestApp;

  beforeAll(async () => {
    app = await createTestApp({ workers: new FakeWorker(0) });
  });
  afterAll(() => app.stop());

  const refusal = async (textToImage: object, input: object = {}): Promise<any> => {
    const { createGeneration } = await app.member.query(CREATE, { input: { ...newInput(textToImage), ...input } });
    expect(createGeneration.generation).toBeNull();
    expect(createGeneration.userErrors).toHaveLength(1);
    return createGeneration.userErrors[0];
  };
  const rowCounts = (): Promise<unknown> =>
    app.db.transaction(asPlatform, async (tx) => ({
      generations: await tx.generation.count(),
      reservations: await tx.reservation.count(),
      keys: await tx.idempotencyRecord.count(),
      entries: await tx.ledgerEntry.count(),
    }));

  test.each([
    ["an empty prompt", { prompt: "  " }, "prompt is empty. Say what to draw.", "prompt"],
    ["a prompt that is too long", { prompt: "x".repeat(4001) }, "prompt has 4001 characters; at most 4000", "prompt"],
    ["half a character", { prompt: "\ud800" }, "valid Unicode", "prompt"],
    ["a NUL", { prompt: "a\0b" }, "valid Unicode", "prompt"],
    [
      "a size that is not offered",
      { prompt: "x", width: 97 },
      "97x97 pixels are not offered by this preset. Allowed: 96x96, or sides that are multiples of 16 with at most 9216 pixels together.",
      "width",
    ],
    ["a size that is too large", { prompt: "x", width: 112, height: 96 }, "112x96 pixels are not offered", "width"],
    ["a size of nothing", { prompt: "x", width: 0 }, "0x0 pixels are not offered", "width"],
    ["a negative size", { prompt: "x", width: -16, height: -16 }, "-16x-16 pixels are not offered", "width"],
    [
      "more steps than a small picture has tokens",
      { prompt: "x", width: 32, height: 16, steps: 3 },
      "steps is 3; this preset allows 1 to 2.",
      "steps",
    ],
    [
      "a speed that is not offered",
      { prompt: "x", speed: "FASTER" },
      "FASTER is not offered by this preset. Allowed: EXACT, FAST.",
      "speed",
    ],
    ["too many steps", { prompt: "x", steps: 37 }, "steps is 37; this preset allows 1 to 36.", "steps"],
    ["no steps", { prompt: "x", steps: 0 }, "steps is 0; this preset allows 1 to 36.", "steps"],
    ["too many pictures", { prompt: "x", count: 5 }, "count is 5; this preset allows 1 to 4.", "count"],
    [
      "a negative temperature",
      { prompt: "x", temperature: -1 },
      "temperature is -1; this preset allows 0 to 10.",
      "temperature",
    ],
    ["guidance beyond reason", { prompt: "x", guidanceScale: 1e9 }, "this preset allows 0 to 100.", "guidanceScale"],
    [
      "a seed beyond 64 bits",
      { prompt: "x", seed: "18446744073709551616" },
      "not a whole number from 0 to 18446744073709551615",
      "seed",
    ],
    ["a seed that is no number", { prompt: "x", seed: "-1" }, "not a whole number", "seed"],
    [
      "an empty unconditional prompt",
      { prompt: "x", unconditionalPrompt: "" },
      "unconditionalPrompt is empty",
      "unconditionalPrompt",
    ],
  ])("%s", async (_, textToImage, message, field) => {
    const before = await rowCounts();
    const error = await refusal(textToImage);
    expect(error).toMatchObject({
      __typename: "GenericError",
      code: "INVALID_INPUT",
      path: ["input", "task", "textToImage", field],
      retryable: false,
    });
    expect(error.message).toContain(message);
    expect(await rowCounts()).toEqual(before);
  });

  test("an unknown preset", async () => {
    const error = await refusal({ prompt: "x" }, { preset: "huge" });
    expect(error).toMatchObject({
      code: "INVALID_INPUT",
      message: 'There is no preset "huge". Offered: tiny.',
      path: ["input", "preset"],
    });
  });

  test("a deadline in the past", async () => {
    expect((await refusal({ prompt: "x" }, { deadlineMs: 0 })).message).toContain("deadlineMs is 0; 1 to");
  });

  test("an empty or endless idempotency key", async () => {
    for (const idempotencyKey of ["", "k".repeat(256)]) {
      const error = await refusal({ prompt: "x" }, { idempotencyKey });
      expect(error).toMatchObject({ code: "INVALID_INPUT", path: ["input", "idempotencyKey"] });
    }
  });

  test("no task, or two", async () => {
    const { errors } = await app.member.send(CREATE, { input: { idempotencyKey: "k", task: {} } });
    expect(errors?.[0]?.message).toContain('Exactly one key must be specified for OneOf type "TaskInput"');
    expect(errors?.[0]?.extensions["code"]).toBe("BAD_USER_INPUT");
  });

  test("null instead of nothing means the default", async () => {
    const { createGeneration } = await app.member.query(CREATE, {
      input: {
        ...newInput({ prompt: "x", steps: null, seed: null, width: null, guidanceScale: null }),
        preset: null,
        deadlineMs: null,
      },
    });
    expect(createGeneration.userErrors).toEqual([]);
    expect(createGeneration.generation.textToImage).toMatchObject({ steps: 18, width: 96, guidanceScale: 3 });
  });

  test("not enough credits", async () => {
    const poor = await app.addMember("MEMBER", { credits: 200_000n });
    const { createGeneration } = await poor.query(CREATE, { input: newInput({ prompt: "x", count: 2 }) });
    expect(createGeneration.generation).toBeNull();
    expect(createGeneration.userErrors).toEqual([
      {
        __typename: "QuotaError",
        code: "QUOTA_EXHAUSTED",
        message:
          "This needs 0.331776, and the tenant has 0.2 of 0.2 credits left. Ask for less, or ask an administrator for more.",
        path: [],
        retryable: false,
        level: "TENANT",
        needed: "0.331776",
        available: "0.2",
      },
    ]);
    await poor.create({ prompt: "x", count: 1 });
    const again = await poor.query(CREATE, { input: newInput({ prompt: "x" }) });
    expect(again.createGeneration.userErrors[0]).toMatchObject({
      code: "QUOTA_EXHAUSTED",
      retryable: true,
      available: "0.034112",
    });
  });

  test.each([
    ["missing", undefined, "An API key is needed."],
    ["mistyped", "atelier_nonsense", "This API key is not valid"],
    ["unknown", `atelier_${"A".repeat(43)}`, "This API key is not valid"],
  ])("a key that is %s", async (_, key, message) => {
    const { data, errors } = await new GraphqlClient(app.member.url, key).send("{ viewer { role } }");
    expect(data ?? null).toBeNull();
    expect(errors?.[0]).toMatchObject({
      message: expect.stringContaining(message),
      extensions: { code: "UNAUTHENTICATED" },
    });
  });

  test("a revoked key, over HTTP and over a socket", async () => {
    const revoked = await app.addMember("MEMBER");
    await revoked.query("{ viewer { role } }");
    await app.db.transaction(
      asPlatform,
      (tx) => tx.$executeRaw`update api_key set revoked_at = now() where name = 'test'`,
    );
    expect((await revoked.send("{ viewer { role } }")).errors?.[0]?.extensions["code"]).toBe("UNAUTHENTICATED");
    const closed = new Promise((resolve) =>
      revoked.socket().subscribe({ query: "{ viewer { role } }" }, { next() {}, error: resolve, complete() {} }),
    );
    expect(await closed).toMatchObject({ code: 4403 });
  });

  test("ids that do not exist, are damaged, or are of another type", async () => {
    for (const id of ["gen_AAAAAAAAAAAAAAAAAAAAAA", "gen_x", "img_AAAAAAAAAAAAAAAAAAAAAA", "", "💥"]) {
      const { data, errors } = await app.member.send("query($id: ID!) { generation(id: $id) { state } }", { id });
      expect(data).toEqual({ generation: null });
      expect(errors?.[0]).toMatchObject({
        message: `There is no generation "${id}".`,
        extensions: { code: "NOT_FOUND" },
      });
      const { cancelGeneration } = await app.member.query(CANCEL, { id });
      expect(cancelGeneration.userErrors[0].code).toBe("NOT_FOUND");
    }
  });

  test("a malformed cursor, and pages without a size or too large", async () => {
    const page = async (argumentsText: string) =>
      (await app.member.send(`{ generations(${argumentsText}) { nodes { id } } }`)).errors?.[0];
    expect(await page('first: 1, after: "x"')).toMatchObject({
      message: '"after" is not a cursor. Use an edge\'s cursor or pageInfo.endCursor as it came.',
    });
    for (const wrong of ["first: 0", "first: 101", "first: 1, last: 1", "scope: MINE"]) {
      expect(await page(wrong)).toMatchObject({
        message: "Give either first or last, from 1 to 100.",
        extensions: { code: "INVALID_INPUT" },
      });
    }
  });

  test("afterSeq from the future", async () => {
    const id = await app.member.create({ prompt: "x" });
    const events = app.member.events(id, 99);
    await expect(events.next()).rejects.toMatchObject({
      message: "afterSeq is 99; this generation has milestones 1 to 1. Use the seq of an event you received, or 0.",
      extensions: { code: "INVALID_INPUT" },
    });
  });

  test("cancelling what has ended", async () => {
    const id = await app.member.create({ prompt: "x" });
    const first = await app.member.query(CANCEL, { id });
    expect(first.cancelGeneration.generation.state).toBe("CANCELED");
    const twice = await app.member.query(CANCEL, { id });
    expect(twice.cancelGeneration).toMatchObject({ generation: { state: "CANCELED" }, userErrors: [] });
    await app.db.transaction(
      asPlatform,
      (tx) => tx.$executeRaw`update generation set state = 'FAILED' where state = 'CANCELED'`,
    );
    const { cancelGeneration } = await app.member.query(CANCEL, { id });
    expect(cancelGeneration.userErrors).toEqual([
      { code: "NOT_CANCELLABLE", message: "The generation has ended already: it is FAILED." },
    ]);
  });

  test("queries that are not GraphQL, not of this schema, or endless", async () => {
    const code = async (query: string) => (await app.member.send(query)).errors?.[0]?.extensions["code"];
    expect(await code("{ viewer")).toBe("GRAPHQL_PARSE_FAILED");
    expect(await code("{ nonsense }")).toBe("GRAPHQL_VALIDATION_FAILED");
    expect(await code(`{ ${"viewer { role } ".repeat(1000)} }`)).toBe("GRAPHQL_PARSE_FAILED");
  });

  test("bodies that are not JSON, or too large", async () => {
    const post = (body: string) =>
      fetch(app.member.url, { method: "POST", headers: { "content-type": "application/json" }, body });
    const broken = await post("{");
    expect(broken.status).toBe(400);
    expect(await broken.json()).toMatchObject({
      errors: [{ message: expect.stringContaining("not valid JSON"), extensions: { code: "BAD_REQUEST" } }],
    });
    const large = await post(JSON.stringify({ query: "x".repeat(2_000_000) }));
    expect(large.status).toBe(413);
    expect(await large.text()).not.toContain("node_modules");
  });

  test("faults of ours name an id and nothing else", async () => {
    const asOwner = (sql: string) =>
      app.db.transaction(asPlatform, async (tx) => {
        await tx.$executeRaw`select set_config('role', 'none', true)`;
        await tx.$executeRawUnsafe(sql);
      });
    const member = await app.addMember("MEMBER");
    await asOwner("alter table limits rename to broken");
    try {
      const { errors } = await member.send("{ viewer { tenant { credits { used } } } }");
      expect(errors?.[0]?.extensions["code"]).toBe("INTERNAL");
      expect(errors?.[0]?.message).toMatch(
        /^Something went wrong on our side\. Quote [0-9a-f-]{36} when you report it\.$/,
      );
      expect(JSON.stringify(errors)).not.toMatch(/limits|prisma|stack/i);
    } finally {
      await asOwner("alter table broken rename to limits");
    }
  });

  test("paths that do not exist", async () => {
    const { origin } = new URL(app.member.url);
    expect((await fetch(`${origin}/nothing`)).status).toBe(404);
    expect((await fetch(`${origin}/files/../secrets.json`)).status).toBe(404);
    expect((await fetch(`${origin}/files/%2e%2e/secrets.json`)).status).toBeGreaterThanOrEqual(403);
    expect(await (await fetch(`${origin}/healthz`)).json()).toEqual({ status: "ok" });
    expect((await fetch(`${origin}/readyz`)).status).toBe(200);
  });
});
