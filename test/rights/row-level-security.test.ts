import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { fromGlobalId } from "../../src/platform/ids.ts";
import { rowsOfTenant } from "../support/tenant-rows.ts";
import { ask } from "./ask.ts";
import { CALLS } from "./calls.ts";
import { MARK, World } from "./world.ts";

/** Services forbid nothing any more, but for the doors of the platform's administrators, behind which every row is visible. */
vi.mock("../../src/auth/authorization.ts", async (original) => ({
  ...(await original<typeof import("../../src/auth/authorization.ts")>()),
  authorize: () => undefined,
  may: () => true,
  mayForAll: () => true,
  reaches: () => true,
}));

let world: World;
beforeAll(async () => {
  world = await World.create();
});
afterAll(() => world.app.stop());

test("services forbid nothing here", async () => {
  expect((await ask(world, "Query.ledger", "colleague")).result).toBe("yes");
});

test.each(Object.keys(CALLS))("%s shows and changes nothing of another tenant", async (row) => {
  const rows = () => rowsOfTenant(world.app.db, fromGlobalId("Tenant", world.tenantId));
  let before: Awaited<ReturnType<typeof rows>> = {};
  const { text } = await ask(world, row, "stranger", async () => {
    before = await rows();
  });
  expect(text).not.toContain(MARK);
  expect(await rows()).toEqual(before);
});
