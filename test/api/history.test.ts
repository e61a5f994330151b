import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FakeWorker } from "../support/fake-worker.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";

describe("history", () => {
  let app: TestApp;
  const ids: string[] = []; // newest first

  beforeAll(async () => {
    app = await createTestApp({ workers: new FakeWorker(0) });
    for (let i = 0; i < 7; i++) ids.unshift(await app.member.create({ prompt: `picture ${i}` }));
  });
  afterAll(() => app.stop());

  const page = async (argumentsText: string) => {
    const { generations } = await app.member.query(
      `{ generations(${argumentsText}) { edges { cursor node { id } } nodes { id } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }`,
    );
    return { ids: generations.nodes.map((node: { id: string }) => node.id), ...generations };
  };

  test("is newest first, and pages forward without gaps or repeats", async () => {
    const seen: string[] = [];
    for (let after = "", more = true; more; ) {
      const { ids: shown, pageInfo } = await page(`first: 3${after}`);
      seen.push(...shown);
      after = `, after: "${pageInfo.endCursor}"`;
      more = pageInfo.hasNextPage;
    }
    expect(seen).toEqual(ids);
  });

  test("pages backward from the oldest", async () => {
    const last = await page("last: 3");
    expect(last.ids).toEqual(ids.slice(-3));
    expect(last.pageInfo).toMatchObject({ hasPreviousPage: true, hasNextPage: false });
    const before = await page(`last: 3, before: "${last.pageInfo.startCursor}"`);
    expect(before.ids).toEqual(ids.slice(1, 4));
    const first = await page(`last: 3, before: "${before.pageInfo.startCursor}"`);
    expect(first.ids).toEqual(ids.slice(0, 1));
    expect(first.pageInfo).toMatchObject({ hasPreviousPage: false, hasNextPage: true });
  });

  test("keeps its place when newer generations arrive between two pages", async () => {
    const { pageInfo } = await page("first: 2");
    const newer = await app.member.create({ prompt: "newer" });
    expect((await page(`first: 2, after: "${pageInfo.endCursor}"`)).ids).toEqual(ids.slice(2, 4));
    expect((await page("first: 1")).ids).toEqual([newer]);
  });
});
