import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FakeWorker } from "../support/fake-worker.ts";
import { CREATE, newInput } from "../support/graphql-client.ts";
import { expectBalancedLedger } from "../support/ledger.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";

describe("an idempotency key", () => {
  let app: TestApp;

  beforeAll(async () => {
    app = await createTestApp({ workers: new FakeWorker(0) });
  });
  afterAll(() => app.stop());

  const create = async (input: object) => (await app.member.query(CREATE, { input })).createGeneration;

  test("with the same input replays the same generation, whatever the order of its fields, and charges once", async () => {
    const input = newInput({ prompt: "x", steps: 4 });
    const first = await create(input);
    const second = await create({ ...input, task: { textToImage: { steps: 4, prompt: "x" } } });
    expect(first.replayed).toBe(false);
    expect(second.replayed).toBe(true);
    expect(second.generation.id).toBe(first.generation.id);
    expect(second.generation.textToImage.seed).toBe(first.generation.textToImage.seed);
    await expectBalancedLedger(app.db);
  });

  test("with another input is refused", async () => {
    const input = newInput({ prompt: "x" });
    await create(input);
    const { generation, userErrors } = await create({ ...input, task: { textToImage: { prompt: "y" } } });
    expect(generation).toBeNull();
    expect(userErrors[0]).toMatchObject({ code: "IDEMPOTENCY_KEY_REUSED", path: ["input", "idempotencyKey"] });
  });

  test("makes twins that run at the same time one generation", async () => {
    const input = newInput({ prompt: "twins" });
    const answers = await Promise.all(Array.from({ length: 10 }, () => create(input)));
    expect(new Set(answers.map(({ generation }) => generation.id)).size).toBe(1);
    expect(answers.filter(({ replayed }) => !replayed)).toHaveLength(1);
  });

  test("of a refused call can be used again", async () => {
    const input = newInput({ prompt: "" });
    expect((await create(input)).userErrors).toHaveLength(1);
    expect((await create({ ...input, task: { textToImage: { prompt: "better" } } })).userErrors).toEqual([]);
  });

  test("of one member means nothing to another", async () => {
    const other = await app.addMember("MEMBER");
    const input = newInput({ prompt: "x" });
    const { createGeneration } = await other.query(CREATE, { input });
    const own = await create({ ...input, task: { textToImage: { prompt: "y" } } });
    expect(own.userErrors).toEqual([]);
    expect(own.generation.id).not.toBe(createGeneration.generation.id);
  });
});
