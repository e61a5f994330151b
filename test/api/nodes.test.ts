import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { newId, toGlobalId } from "../../src/platform/ids.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";

const NODES = `query($ids: [ID!]!) {
  nodes(ids: $ids) { __typename id ... on Generation { textToImage { prompt } } ... on Tenant { name } ... on Image { url } }
}`;

describe("things are found by their ids", () => {
  let app: TestApp;
  let generation: string;

  beforeAll(async () => {
    const worker = new FakeWorker(1);
    app = await createTestApp({ workers: worker });
    generation = await app.member.create({ prompt: "a red circle" });
    await (await worker.nextCall()).started().succeed();
    await app.member.finished(generation);
  });
  afterAll(() => app.stop());

  test("of any type, in the order of the ids", async () => {
    const { viewer } = await app.member.query("{ viewer { tenant { id name } user { id } apiKey { id } } }");
    const { generation: drawn } = await app.member.query("query($id: ID!) { generation(id: $id) { images { id } } }", {
      id: generation,
    });
    const image = drawn.images[0].id;
    const ids = [image, viewer.tenant.id, viewer.user.id, generation, viewer.apiKey.id, generation];
    const { nodes } = await app.member.query(NODES, { ids });
    expect(nodes).toEqual([
      { __typename: "Image", id: image, url: expect.stringContaining("http") },
      { __typename: "Tenant", id: viewer.tenant.id, name: viewer.tenant.name },
      { __typename: "User", id: viewer.user.id },
      { __typename: "Generation", id: generation, textToImage: { prompt: "a red circle" } },
      { __typename: "ApiKey", id: viewer.apiKey.id },
      { __typename: "Generation", id: generation, textToImage: { prompt: "a red circle" } },
    ]);
  });

  test("and what is not found is null beside what is", async () => {
    const ids = [toGlobalId("Generation", newId()), generation, "gen_", "none", toGlobalId("Image", newId())];
    const { data, errors } = await app.member.send(NODES, { ids });
    expect(data?.nodes.map((node: { id: string } | null) => node?.id)).toEqual([
      undefined,
      generation,
      undefined,
      undefined,
      undefined,
    ]);
    expect(errors?.map(({ extensions }) => extensions["code"])).toEqual(Array(4).fill("NOT_FOUND"));
  });

  test("up to a hundred at once", async () => {
    const { errors } = await app.member.send(NODES, { ids: Array(101).fill(generation) });
    expect(errors?.[0]).toMatchObject({
      message: expect.stringContaining("100"),
      extensions: { code: "INVALID_INPUT" },
    });
  });
});
