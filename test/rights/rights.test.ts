import { readFileSync } from "node:fs";
import { join } from "node:path";
import { buildSchema } from "graphql";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ask } from "./ask.ts";
import { CALLS } from "./calls.ts";
import { CALLERS, type Caller, MARK, OUTSIDERS, World } from "./world.ts";

/** rights.md: what each kind of caller gets for each field. */
const TABLE = readTable(readFileSync(join(import.meta.dirname, "rights.md"), "utf8"));

describe("rights", () => {
  let world: World;
  beforeAll(async () => {
    world = await World.create();
  });
  afterAll(() => world.app.stop());

  test("of every field of the schema are in the table", () => {
    const schema = buildSchema(readFileSync("schema.graphql", "utf8"));
    const types = [schema.getQueryType(), schema.getMutationType(), schema.getSubscriptionType()];
    const fields = types.flatMap((type) => Object.keys(type?.getFields() ?? {}).map((field) => `${type}.${field}`));
    expect([...new Set(Object.keys(CALLS).map((row) => row.split(",")[0]))].sort()).toEqual(fields.sort());
    expect([...TABLE.keys()]).toEqual(Object.keys(CALLS));
  });

  test.each(Object.keys(CALLS))("%s", async (row) => {
    const results: [Caller, string][] = [];
    for (const caller of CALLERS) {
      const { result, text } = await ask(world, row, caller);
      if (OUTSIDERS.includes(caller)) expect(text, caller).not.toContain(MARK);
      results.push([caller, result]);
    }
    expect(Object.fromEntries(results)).toEqual(TABLE.get(row));
  });
});

/** Rows of a Markdown table by their first cell; of the others, by the names in its head. */
function readTable(markdown: string): ReadonlyMap<string, Readonly<Record<string, string>>> {
  const rows = markdown
    .slice(markdown.indexOf("| field |"))
    .split("\n")
    .filter((line) => line.startsWith("|"))
    .map((line) =>
      line
        .split("|")
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
  const [[, ...callers] = [], , ...body] = rows;
  return new Map(
    body.map(([name = "", ...cells]) => [
      name,
      Object.fromEntries(callers.map((caller, i) => [caller, cells[i] ?? ""])),
    ]),
  );
}
