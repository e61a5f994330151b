import { expect } from "vitest";
import type { GraphqlClient } from "./graphql-client.ts";

const SET_LIMIT = "mutation($input: SetLimitInput!) { setLimit(input: $input) { userErrors { message } } }";

/** What is created here is claimed together: a limit lets nothing of the tenant start until all of it waits. */
export async function createTogether<T>(owner: GraphqlClient, create: () => Promise<T>): Promise<T> {
  const limit = async (max: string | null): Promise<void> => {
    const input = { level: "TENANT", kind: "RUNNING", window: "TOTAL", max, reason: "a test" };
    expect((await owner.query(SET_LIMIT, { input })).setLimit.userErrors).toEqual([]);
  };
  await limit("0");
  try {
    return await create();
  } finally {
    await limit(null);
  }
}
