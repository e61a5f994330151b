import { createRequire } from "node:module";
import { defineConfig } from "vitest/config";

export default defineConfig({
  // Apollo and TypeGraphQL must see one copy of graphql: the CommonJS build.
  resolve: { alias: [{ find: /^graphql$/, replacement: createRequire(import.meta.url).resolve("graphql/index.js") }] },
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: ["test/support/template-data.ts"],
    pool: "forks",
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 120_000,
    teardownTimeout: 20_000,
    server: { deps: { inline: [/type-graphql/] } },
  },
});
