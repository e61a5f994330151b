import { expect, test } from "vitest";
import { createLogger } from "../../src/platform/logger.ts";
import { Ticker } from "../../src/platform/ticker.ts";

const logger = createLogger("silent");

test("runs one after another, and once more when triggered meanwhile", async () => {
  let active = 0;
  let runs = 0;
  let release = (): void => {};
  const ticker = new Ticker({
    name: "test",
    intervalMs: 3600_000,
    logger,
    async runOnce() {
      expect(++active).toBe(1);
      runs++;
      if (runs === 1)
        await new Promise<void>((resolve) => {
          release = resolve;
        });
      active--;
    },
  });
  ticker.start();
  for (let i = 0; i < 5; i++) ticker.trigger();
  release();
  await expect.poll(() => runs).toBe(2);
  await ticker.stop();
  ticker.trigger();
  expect(runs).toBe(2);
});

test("goes on after a run that failed", async () => {
  let runs = 0;
  const ticker = new Ticker({
    name: "test",
    intervalMs: 1,
    logger,
    async runOnce() {
      if (++runs === 1) throw new Error("on purpose");
    },
  });
  ticker.start();
  await expect.poll(() => runs).toBeGreaterThan(2);
  await ticker.stop();
});
