// Writes schema.graphql, the public contract, from the compiled resolver classes.
import { writeFileSync } from "node:fs";
import { lexicographicSortSchema, printSchema } from "graphql";
import { makeSchema } from "../dist/src/api/schema.js";

const schema = lexicographicSortSchema(await makeSchema([]));
writeFileSync(
  new URL("../schema.graphql", import.meta.url),
  `# The public API. Generated from the resolver classes by "npm run generate"; do not edit.\n\n${printSchema(schema)}\n`,
);
