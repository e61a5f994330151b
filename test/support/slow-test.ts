import { test } from "vitest";

/** For tests that take a good part of a minute: skipped by name, unless they are asked for with `npm run test:slow`. */
export const slowTest = test.runIf(process.env["SLOW_TESTS"] === "1");
