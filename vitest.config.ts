import { createRequire } from "node:module";
import { defineConfig, type TestProjectInlineConfiguration } from "vitest/config";
import { SkippedReporter } from "./test/support/skipped-reporter.ts";

/** Files that replace a module, or measure the memory of their process: these have a process of their own. */
const ALONE = ["test/rights/row-level-security.test.ts", "test/faults/redis.test.ts"];

const COMMON: TestProjectInlineConfiguration = {
  // Apollo and TypeGraphQL must see one copy of graphql: the CommonJS build.
  resolve: { alias: [{ find: /^graphql$/, replacement: createRequire(import.meta.url).resolve("graphql/index.js") }] },
  test: {
    pool: "forks",
    // Far longer than anything takes on a machine that is busy with other things: how long it takes decides no test.
    testTimeout: 180_000,
    hookTimeout: 180_000,
    expect: { poll: { timeout: 60_000, interval: 20 } },
    server: { deps: { inline: [/type-graphql/] } },
  },
};

/** Importing the server and warming its code up takes seconds: files share the processes that have done so. */
export default defineConfig({
  test: {
    reporters: [new SkippedReporter(), "default"],
    globalSetup: ["test/support/template-data.ts"],
    maxWorkers: 2,
    teardownTimeout: 20_000,
    projects: [
      { ...COMMON, test: { ...COMMON.test, name: "alone", include: ALONE, sequence: { groupOrder: 0 } } },
      {
        ...COMMON,
        test: {
          ...COMMON.test,
          name: "together",
          include: ["test/**/*.test.ts"],
          exclude: ALONE,
          isolate: false,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
