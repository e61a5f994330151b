/** Batches through the public API, as users send them. */
import { expect } from "vitest";
import type { GraphqlClient } from "./graphql-client.ts";

const FIELDS = `
  id status preset total createdAt cancelRequestedAt finishedAt
  counts { waiting queued running succeeded failed canceled } credits { reserved charged held }
`;

export const CREATE_BATCH = `mutation($input: CreateBatchInput!) {
  createBatch(input: $input) {
    replayed
    batch { ${FIELDS} resultsUrl }
    userErrors { __typename code message path retryable ... on QuotaError { level needed available } }
  }
}`;

export const CANCEL_BATCH = `mutation($id: ID!) {
  cancelBatch(id: $id) { batch { ${FIELDS} } userErrors { code message path } }
}`;

let keys = 0;
/** @param items prompts, or items with more to them */
export const newBatch = (items: readonly (string | object)[], input: object = {}) => ({
  idempotencyKey: `batch-${process.pid}-${++keys}`,
  items: items.map((item) => (typeof item === "string" ? { prompt: item } : item)),
  ...input,
});

/** Creates a batch; its id. */
export async function createBatch(client: GraphqlClient, items: readonly (string | object)[], input: object = {}) {
  const { createBatch: created } = await client.query(CREATE_BATCH, { input: newBatch(items, input) });
  expect(created.userErrors).toEqual([]);
  return created.batch.id as string;
}

export const readBatch = async (client: GraphqlClient, id: string): Promise<any> =>
  (await client.query(`query($id: ID!) { batch(id: $id) { ${FIELDS} resultsUrl } }`, { id })).batch;

export const readItems = async (client: GraphqlClient, id: string, page = "first: 100"): Promise<any> => {
  const { batch } = await client.query(
    `query($id: ID!) { batch(id: $id) { items(${page}) {
      edges { cursor } pageInfo { hasNextPage hasPreviousPage endCursor }
      nodes { index customId status error { code message } textToImage { prompt seed steps width count } generation { id state priority images { sha256 } } }
    } } }`,
    { id },
  );
  return batch.items;
};

export const readResults = async (client: GraphqlClient, id: string): Promise<any[]> => {
  const response = await fetch((await readBatch(client, id)).resultsUrl);
  expect([response.status, response.headers.get("content-type")]).toEqual([200, "application/jsonl; charset=utf-8"]);
  const lines = (await response.text()).split("\n");
  expect(lines.pop()).toBe("");
  return lines.map((line) => JSON.parse(line));
};

/** The batch once it has ended. */
export const finishedBatch = (client: GraphqlClient, id: string): Promise<any> =>
  expect
    .poll(() => readBatch(client, id))
    .toMatchObject({ finishedAt: expect.any(String) })
    .then(() => readBatch(client, id));
