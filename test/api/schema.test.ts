import { readFileSync } from "node:fs";
import { type GraphQLInterfaceType, lexicographicSortSchema, printSchema, validateSchema } from "graphql";
import { expect, test } from "vitest";
import { makeSchema } from "../../src/api/schema.ts";

test("the committed schema is the one of the code", async () => {
  const printed = printSchema(lexicographicSortSchema(await makeSchema([])));
  expect(readFileSync("schema.graphql", "utf8")).toContain(printed);
});

test("the schema is valid, and a task is exactly one", async () => {
  const schema = await makeSchema([]);
  expect(validateSchema(schema)).toEqual([]);
  expect(schema.getType("TaskInput")).toMatchObject({ isOneOf: true });
});

test.each(["GenerationEvent", "UserError"])(
  "fields of the same name in the types of %s can be asked for in one query",
  async (name) => {
    const schema = await makeSchema([]);
    const types = new Map<string, string>();
    for (const type of schema.getPossibleTypes(schema.getType(name) as GraphQLInterfaceType)) {
      for (const field of Object.values(type.getFields())) {
        const known = types.get(field.name) ?? String(field.type);
        expect(String(field.type), `${type.name}.${field.name}`).toBe(known);
        types.set(field.name, known);
      }
    }
  },
);
