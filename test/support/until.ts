import { vi } from "vitest";

/** Far longer than anything takes on a machine that is busy with other things: how long it takes decides no test. */
const PATIENCE_MS = 60_000;

/** Resolves to what `check` gives once it no longer throws. */
export const until = <T>(check: () => T | Promise<T>): Promise<T> =>
  vi.waitFor(check, { timeout: PATIENCE_MS, interval: 20 });
