import { expect, test } from "vitest";
import { Metrics } from "../../src/platform/metrics.ts";
import { Told } from "../support/metrics.ts";

test("steps are told of the workers that were heard of last, of a hundred at most", async () => {
  const metrics = new Metrics({ role: "all", pool: "gpu" });
  const workers = Array.from({ length: 150 }, (_, i) => `worker-${i}`);
  for (const worker of workers) for (const preset of ["tiny", "large"]) metrics.noteSteps({ worker, preset }, 2, 500);
  metrics.noteSteps({ worker: "worker-60", preset: "tiny" }, 1, 250);
  for (let i = 0; i < 50; i++) metrics.noteSteps({ worker: `later-${i}`, preset: "tiny" }, 1, 250);
  const told = new Told(await metrics.registry.metrics());
  const names = new Set(told.samples().flatMap(({ labels }) => labels["worker"] ?? []));
  expect(names.size).toBe(100);
  expect([names.has("worker-60"), names.has("worker-149"), names.has("worker-61")]).toEqual([true, true, false]);
  expect(told.value("atelier_steps_total", { worker: "worker-60", preset: "tiny", pool: "gpu" })).toBe(3);
  expect(told.value("atelier_step_seconds_total", { worker: "worker-60" })).toBe(1.25);
});
