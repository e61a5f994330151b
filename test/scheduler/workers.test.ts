import { Status } from "nice-grpc";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { asPlatform } from "../../src/platform/access.ts";
import { systemClock } from "../../src/platform/clock.ts";
import { PoolForecasts } from "../../src/scheduler/pool-forecasts.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import { hasPostgres, startPostgres } from "../support/postgres-server.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";
import { until } from "../support/until.ts";

const WORKER = `pool name state slots standby running faults quarantinedUntil since seenAt drainRequestedAt
  presets { name buildDigest }`;

describe("a worker", () => {
  let worker: FakeWorker;
  let app: TestApp;

  beforeAll(async () => {
    worker = new FakeWorker();
    app = await createTestApp({ workers: worker });
  });
  afterAll(() => app.stop());

  const shown = async (): Promise<any> =>
    (await app.owner.query(`{ workers(pool: "local") { ${WORKER} } }`)).workers[0];
  const untilState = (state: string): Promise<void> =>
    until(async () => expect(await shown()).toMatchObject({ state }));
  const change = async (field: "drainWorker" | "resumeWorker", input: object = {}): Promise<any> => {
    const type = field === "drainWorker" ? "DrainWorkerInput" : "ResumeWorkerInput";
    const text = `mutation($input: ${type}!) { ${field}(input: $input) { worker { ${WORKER} } userErrors { code path } } }`;
    const all = { pool: "local", name: "fake", reason: "new card", ...input };
    return (await app.owner.query(text, { input: all }))[field];
  };
  const execute = (sql: string): Promise<unknown> => app.db.transaction(asPlatform, (tx) => tx.$executeRawUnsafe(sql));
  const isSettled = async (promise: Promise<unknown>): Promise<boolean> =>
    Promise.race([promise.then(() => true), new Promise<false>((resolve) => setImmediate(() => resolve(false)))]);
  /** As a process without workers makes it. */
  const forecastElsewhere = () =>
    new PoolForecasts({ db: app.db, clock: systemClock, workers: () => undefined, ageingMs: 600_000 }).of("local");

  test("is shown with what it serves, and whether it runs something", async () => {
    await untilState("READY");
    expect(await shown()).toMatchObject({
      pool: "local",
      name: "fake",
      state: "READY",
      slots: 1,
      standby: 0,
      running: 0,
      faults: 0,
      quarantinedUntil: null,
      drainRequestedAt: null,
      presets: [{ name: "tiny", buildDigest: "fake" }],
    });
    const id = await app.member.create({ prompt: "busy" });
    const call = (await worker.nextCall()).started();
    expect(await shown()).toMatchObject({ state: "BUSY", running: 1 });
    await call.succeed();
    await app.member.finished(id);
    expect(await shown()).toMatchObject({ state: "READY", running: 0 });
  });

  test("that is drained finishes what it runs, and gets nothing more until it is resumed", async () => {
    const running = await app.member.create({ prompt: "running" });
    const call = (await worker.nextCall()).started();
    const { worker: draining, userErrors } = await change("drainWorker");
    expect(userErrors).toEqual([]);
    expect(draining).toMatchObject({ state: "DRAINING", running: 1 });
    const waiting = await app.member.create({ prompt: "waiting" });
    await until(async () => {
      const trace = "query($id: ID!) { generation(id: $id) { state estimatedStartAt schedulingTrace { kind } } }";
      const { generation } = await app.member.query(trace, { id: waiting });
      expect(generation).toEqual({ state: "QUEUED", estimatedStartAt: null, schedulingTrace: [{ kind: "NO_WORKER" }] });
    });
    expect(await isSettled(call.yieldRequested)).toBe(false);
    await call.succeed();
    expect((await app.member.finished(running)).state).toBe("SUCCEEDED");
    expect((await shown()).state).toBe("DRAINED");
    expect((await app.member.generation(waiting)).state).toBe("QUEUED");
    expect((await change("resumeWorker")).worker).toMatchObject({ drainRequestedAt: null });
    await (await worker.nextCall()).started().succeed();
    expect((await app.member.finished(waiting)).state).toBe("SUCCEEDED");
  });

  test("that is drained may be asked to let what it runs go on elsewhere", async () => {
    const id = await app.member.create({ prompt: "long" });
    const call = (await worker.nextCall()).started();
    await change("drainWorker", { yieldRunning: true });
    await call.yieldRequested;
    call.checkpoint(3).yielded();
    await untilState("DRAINED");
    expect((await app.member.generation(id)).state).toBe("QUEUED");
    await change("resumeWorker");
    await (await worker.nextCall()).started(3).succeed();
    await app.member.finished(id);
  });

  test("is drained and resumed on the record; a wish that stands is no change, and one for nobody is refused", async () => {
    const nobody = await change("drainWorker", { name: "nobody" });
    expect(nobody).toEqual({ worker: null, userErrors: [{ code: "NOT_FOUND", path: ["input", "name"] }] });
    for (const field of ["resumeWorker", "drainWorker", "drainWorker", "resumeWorker", "resumeWorker"] as const)
      await change(field);
    const log = "{ auditLog(scope: PLATFORM, first: 100) { nodes { action reason targetType targetId } } }";
    const { nodes } = (await app.owner.query(log)).auditLog;
    const target = { reason: "new card", targetType: "Worker", targetId: "local/fake" };
    expect(nodes.filter(({ targetType }: any) => targetType === "Worker").slice(-2)).toEqual([
      { action: "worker:drain", ...target },
      { action: "worker:resume", ...target },
    ]);
  });

  test("is known to processes that have no workers, as long as its leader tells of it", async () => {
    const id = await app.member.create({ prompt: "busy" });
    const call = (await worker.nextCall()).started();
    const { state } = await forecastElsewhere();
    expect(state.workers).toMatchObject([{ presets: ["tiny"], slots: 1, runs: [{ worker: "fake" }] }]);
    await execute("update worker set seen_at = now() - interval '31 seconds'");
    expect((await shown()).state).toBe("GONE");
    expect((await forecastElsewhere()).isServed("tiny")).toBe(false);
    await call.succeed();
    await app.member.finished(id);
  });

  test("stays drained when the server starts again", async () => {
    await change("drainWorker");
    await app.stop({ keepData: true });
    worker = new FakeWorker();
    app = await createTestApp({ workers: worker }, { DATA_DIR: app.dataDir });
    const id = await app.member.create({ prompt: "waits" });
    await untilState("DRAINED");
    expect((await app.member.generation(id)).state).toBe("QUEUED");
    await change("resumeWorker");
    await (await worker.nextCall()).started().succeed();
    expect((await app.member.finished(id)).state).toBe("SUCCEEDED");
  });

  test("that fails before it starts is shown as quarantined, and its fault is counted", async () => {
    await app.member.create({ prompt: "unlucky" });
    (await worker.nextCall()).fail(Status.INTERNAL);
    await untilState("QUARANTINED");
    const { faults, quarantinedUntil } = await shown();
    expect(faults).toBe(1);
    expect(Date.parse(quarantinedUntil)).toBeGreaterThan(Date.now());
  });
});

test("who leads a pool next leaves those alone that were left alone", async () => {
  const worker = new FakeWorker();
  const first = await createTestApp({ workers: worker });
  const quarantine = async (app: TestApp): Promise<number> => {
    const { workers } = await app.owner.query('{ workers(pool: "local") { quarantinedUntil } }');
    return Date.parse(workers[0].quarantinedUntil);
  };
  await first.member.create({ prompt: "unlucky" });
  (await worker.nextCall()).fail(Status.INTERNAL);
  const until10 = await until(async () => {
    const time = await quarantine(first);
    expect(time).toBeGreaterThan(Date.now());
    return time;
  });
  await first.stop({ keepData: true });

  const second = await createTestApp({ workers: new FakeWorker() }, { DATA_DIR: first.dataDir });
  onTestFinished(() => second.stop());
  await until(async () => expect(Math.abs((await quarantine(second)) - until10)).toBeLessThan(1500));
});

test.skipIf(!hasPostgres)(
  "who leads a pool tells all other servers of its workers, and hears what they want",
  async () => {
    const postgres = await startPostgres({ fsync: "off" });
    onTestFinished(() => postgres.stop());
    const environment = { DATABASE_URL: await postgres.createDatabase() };
    const worker = new FakeWorker();
    const leader = await createTestApp({ workers: worker }, environment);
    const other = await createTestApp({ workers: new FakeWorker(0) }, environment);
    const running = await other.member.create({ prompt: "running" });
    const call = (await worker.nextCall()).started();
    const id = await other.member.create({ prompt: "waiting" });
    const kinds = async (): Promise<string[]> => {
      const trace = "query($id: ID!) { generation(id: $id) { schedulingTrace { kind } } }";
      const { generation } = await other.member.query(trace, { id });
      return generation.schedulingTrace.map(({ kind }: { kind: string }) => kind);
    };
    expect(await kinds()).toEqual(["WORKERS_BUSY"]);
    const drain = "mutation($input: DrainWorkerInput!) { drainWorker(input: $input) { worker { state } } }";
    const input = { pool: "local", name: "fake", yieldRunning: true, reason: "test" };
    const { drainWorker } = await other.owner.query(drain, { input });
    expect(drainWorker.worker.state).toBe("DRAINING");
    await call.yieldRequested;
    await until(async () => expect(await kinds()).toContain("NO_WORKER"));
    await call.succeed();
    expect((await other.member.finished(running)).state).toBe("SUCCEEDED");
    await other.stop();
    await leader.stop();
  },
);
