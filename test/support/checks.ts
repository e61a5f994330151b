/** Lists of checks through the public API, as administrators set them. */
import { expect } from "vitest";
import type { GraphqlClient } from "./graphql-client.ts";

export const SET_POLICY = `mutation($input: SetModerationPolicyInput!) {
  setModerationPolicy(input: $input) {
    policy { level etag checks { name mode category wordCount words } }
    userErrors { __typename code message path ... on VersionError { currentEtag } }
  }
}`;

/** @returns the list as it was set */
export async function setChecks(client: GraphqlClient, checks: readonly object[], input: object = {}): Promise<any> {
  const wish = { reason: "a test", checks, ...input };
  const { setModerationPolicy: set } = await client.query(SET_POLICY, { input: wish });
  expect(set.userErrors).toEqual([]);
  return set.policy;
}

export const words = (name: string, ...list: readonly string[]) => ({ name, words: list });

/** Of a generation, or the newest of the tenant. */
export async function readVerdicts(client: GraphqlClient, generationId?: string): Promise<any[]> {
  const fields = "stage imageIndex level check decision category generationId userId";
  if (generationId === undefined)
    return (await client.query(`{ moderationVerdicts(first: 50) { nodes { ${fields} } } }`)).moderationVerdicts.nodes;
  const query = `query($id: ID!) { generation(id: $id) { moderation { ${fields} } } }`;
  return (await client.query(query, { id: generationId })).generation.moderation;
}
