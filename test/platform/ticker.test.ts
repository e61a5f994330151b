import { expect, test } from "vitest";
import { createLogger } from "../../src/platform/logger.ts";
import { Metrics } from "../../src/platform/metrics.ts";
import { Ticker } from "../../src/platform/ticker.ts";
import { Told } from "../support/metrics.ts";

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

test("tells how its runs ended, and how much they did", async () => {
  const metrics = new Metrics({ role: "all", pool: "local" });
  const results = [3, "nothing that is counted", 4];
  const ticker = new Ticker({
    name: "test",
    intervalMs: 1,
    logger,
    metrics,
    runOnce: async () => results.shift() ?? Promise.reject(new Error("as the test says")),
  });
  const told = async () => new Told(await metrics.registry.metrics());
  ticker.start();
  await expect
    .poll(async () => (await told()).value("atelier_duty_seconds_count", { duty: "test", outcome: "failed" }))
    .toBeGreaterThan(0);
  await ticker.stop();
  expect((await told()).value("atelier_duty_seconds_count", { duty: "test", outcome: "done" })).toBe(3);
  expect((await told()).value("atelier_duty_items_total", { duty: "test" })).toBe(7);
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
