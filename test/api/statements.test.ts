import { PGlite } from "@electric-sql/pglite";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { FakeWorker } from "../support/fake-worker.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";

/** Statements that reach the database while `act` runs, as they are sent, without those that open and end transactions. */
async function statementsOf(act: () => Promise<unknown>): Promise<readonly string[]> {
  const query = vi.spyOn(PGlite.prototype, "query");
  try {
    await act();
    return query.mock.calls.map(([sql]) => sql);
  } finally {
    query.mockRestore();
  }
}

describe("a page costs as many statements as one row", () => {
  let app: TestApp;

  beforeAll(async () => {
    app = await createTestApp({ workers: new FakeWorker(0) });
    for (let i = 0; i < 50; i++) await app.member.create({ prompt: String(i) });
    const create = "mutation ($input: CreateBatchInput!) { createBatch(input: $input) { userErrors { code } } }";
    for (let i = 0; i < 10; i++) {
      const input = { idempotencyKey: `batch ${i}`, items: [{ customId: "a", prompt: "a" }] };
      expect((await app.member.query(create, { input })).createBatch.userErrors).toEqual([]);
    }
  });
  afterAll(() => app.stop());

  test("of generations with their pictures, attempts and makers", async () => {
    const page = (first: number) => `{
      generations(first: ${first}, scope: TENANT) {
        nodes { id state creditsReserved images { id url } attempts { number outcome } createdBy { id name } }
      }
    }`;
    const one = await statementsOf(() => app.owner.query(page(1)));
    const fifty = await statementsOf(() => app.owner.query(page(50)));
    expect(fifty).toHaveLength(one.length);
    expect(fifty.length).toBeLessThanOrEqual(8 + LOOKUP_OF_THE_KEY);
  });

  test("of generations with their schedules: one forecast for all of them", async () => {
    const page = (first: number) =>
      `{ generations(first: ${first}) { nodes { queuePosition { startsBefore } estimatedStartAt schedulingTrace { message } } } }`;
    await app.member.query(page(1)); // makes the forecast, which is kept for a second
    const one = await statementsOf(() => app.member.query(page(1)));
    const fifty = await statementsOf(() => app.member.query(page(50)));
    expect(fifty.length).toBeLessThanOrEqual(one.length + FORECAST);
    expect(one.length).toBeLessThanOrEqual(8 + LOOKUP_OF_THE_KEY + FORECAST);
  });

  test("of batches with their counts and credits", async () => {
    const page = (first: number) =>
      `{ batches(first: ${first}) { nodes { counts { queued waiting } credits { held charged } } } }`;
    const one = await statementsOf(() => app.member.query(page(1)));
    const ten = await statementsOf(() => app.member.query(page(10)));
    expect(ten).toHaveLength(one.length);
  });

  test("of things by their ids", async () => {
    const { generations } = await app.member.query("{ generations(first: 50) { nodes { id } } }");
    const ids: string[] = generations.nodes.map(({ id }: { id: string }) => id);
    const nodes = "query($ids: [ID!]!) { nodes(ids: $ids) { id } }";
    const one = await statementsOf(() => app.member.query(nodes, { ids: ids.slice(0, 1) }));
    const fifty = await statementsOf(() => app.member.query(nodes, { ids }));
    expect(fifty).toHaveLength(one.length);
  });
});

/** The access of its transaction, and the lookup itself. */
const LOOKUP_OF_THE_KEY = 2;
/** Should it be made anew: its transactions and reads, for as many rounds as queues are read further. */
const FORECAST = 16;
