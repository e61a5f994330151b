import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FakeWorker } from "../support/fake-worker.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";

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
