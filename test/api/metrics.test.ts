import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FakeClock } from "../support/fake-clock.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";
import { until } from "../support/until.ts";

const read = (app: TestApp, headers: Record<string, string> = {}) => fetch(`${app.publicUrl}/metrics`, { headers });

describe("metrics", () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await createTestApp({ workers: new FakeWorker() });
  });
  afterAll(() => app.stop());

  test("are for this machine, and for nobody behind a proxy", async () => {
    const response = await read(app);
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toContain("text/plain");
    expect(await response.text()).toContain("# TYPE atelier_eta_start_error_ratio histogram");
    for (const header of ["x-forwarded-for", "forwarded"]) {
      const refused = await read(app, { [header]: "127.0.0.1" });
      expect(refused.status).toBe(403);
      expect(await refused.text()).toContain("METRICS_TOKEN");
    }
  });
});

test("metrics are for whoever has the token, where there is one", async () => {
  const app = await createTestApp({ workers: new FakeWorker() }, { METRICS_TOKEN: "a token of the operator" });
  expect((await read(app)).status).toBe(401);
  expect((await read(app, { authorization: "Bearer another" })).status).toBe(401);
  const headers = { authorization: "Bearer a token of the operator", "x-forwarded-for": "192.0.2.1" };
  expect((await read(app, headers)).status).toBe(200);
  await app.stop();
});

test("metrics tell of each pool what waits, how long it is expected to take, and who is there for it", async () => {
  const worker = new FakeWorker();
  const clock = new FakeClock();
  const app = await createTestApp({ workers: worker, clock });
  const figures = async () => {
    clock.advance(5000);
    const text = await (await read(app)).text();
    return Object.fromEntries(
      [...text.matchAll(/^atelier_(\w+)\{pool="local"\} (\S+)$/gm)].map(([, name, value]) => [name, Number(value)]),
    );
  };
  await until(async () => expect(await figures()).toMatchObject({ live_workers: 1 }));
  expect(await figures()).toMatchObject({ queued_generations: 0, queued_gpu_seconds: 0, busy_workers: 0 });
  const running = await app.member.create({ prompt: "running" });
  const call = (await worker.nextCall()).started();
  for (const prompt of ["one", "two"]) await app.member.create({ prompt });
  const { queued_gpu_seconds: ofTwo, ...others } = await figures();
  expect(others).toMatchObject({ queued_generations: 2, busy_workers: 1, live_workers: 1 });
  const last = await app.member.create({ prompt: "three" });
  expect((await figures())["queued_gpu_seconds"]).toBeCloseTo(1.5 * ofTwo!, 6);
  expect(ofTwo).toBeGreaterThan(0);
  await call.succeed();
  for (let left = 3; left > 0; left--) await (await worker.nextCall()).started().succeed();
  for (const id of [running, last]) await app.member.finished(id);
  await app.stop();
});
