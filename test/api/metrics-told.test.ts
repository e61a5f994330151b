/** What is told of generations and those who watch them, as they go by. */
import { Status } from "nice-grpc";
import { afterAll, beforeAll, expect, test } from "vitest";
import { asPlatform } from "../../src/platform/access.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import { documentedMetrics, Told } from "../support/metrics.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";
import { until } from "../support/until.ts";

let app: TestApp;
const worker = new FakeWorker();
beforeAll(async () => {
  app = await createTestApp({ workers: worker });
});
afterAll(() => app.stop());

const read = async (of = app): Promise<Told> => new Told(await (await fetch(`${of.publicUrl}/metrics`)).text());
/** How much each of these grows while something happens. */
const growth = async (names: readonly (readonly [string, Record<string, string>?])[], act: () => Promise<unknown>) => {
  const before = await read();
  await act();
  const after = await read();
  return names.map(([name, labels]) => (after.value(name, labels) ?? 0) - (before.value(name, labels) ?? 0));
};

test("metrics are those of the table in docs/operations.md, and no others", async () => {
  expect([...(await read()).names].sort()).toEqual([...documentedMetrics.keys()].sort());
});

test("a generation is told of from its wait to its end, with the steps of its worker", async () => {
  const id = await app.member.create({ prompt: "told" });
  const call = await worker.nextCall();
  const grown = await growth(
    [
      ["atelier_steps_total", { preset: "tiny", worker: "fake", pool: "local" }],
      ["atelier_prompt_reads_total", { cached: "false" }],
      ["atelier_prompt_reads_total", { cached: "true" }],
      ["atelier_attempts_ended_total", { outcome: "SUCCEEDED", failure_class: "" }],
      ["atelier_generations_ended_total", { state: "SUCCEEDED" }],
      ["atelier_generations_ended_total"],
    ],
    async () => {
      await call.started().step(1).step(4).succeed();
      await app.member.finished(id);
    },
  );
  expect(grown).toEqual([4, 1, 2, 1, 1, 1]);
  const told = await read();
  expect(told.value("atelier_generation_wait_seconds_count", { pool: "local", priority: "STANDARD" })).toBe(1);
  for (const name of ["claim", "slot_wait"]) expect(told.value(`atelier_${name}_seconds_count`), name).toBe(1);
  expect(told.value("atelier_build_info", { role: "all" })).toBe(1);
});

test("attempts that fail are told by how, and what starts again has no second wait", async () => {
  const id = await app.member.create({ prompt: "fails" });
  const failures = { outcome: "FAILED", failure_class: "INTERNAL" };
  const grown = await growth(
    [
      ["atelier_attempts_ended_total", failures],
      ["atelier_generation_wait_seconds_count"],
      ["atelier_generations_ended_total", { state: "CANCELED" }],
    ],
    async () => {
      (await worker.nextCall()).started().fail(Status.INTERNAL);
      await until(async () => expect((await read()).value("atelier_attempts_ended_total", failures)).toBe(1));
      await app.member.query(`mutation($id: ID!) { cancelGeneration(id: $id) { generation { id } } }`, { id });
      await app.member.finished(id);
    },
  );
  expect(grown).toEqual([1, 0, 1]);
});

test("sockets, subscriptions and the frames that they are sent are told while they are open", async () => {
  const id = await app.member.create({ prompt: "watched" });
  const call = (await worker.nextCall()).started();
  const sent = (await read()).value("atelier_frames_sent_total") ?? 0;
  for await (const event of app.member.events(id)) {
    if (event.__typename === "StartedEvent") {
      const told = await read();
      expect([told.value("atelier_sockets_open"), told.value("atelier_subscriptions_open")]).toEqual([1, 1]);
      call.step(1);
    }
    if (event.__typename === "PreviewEvent") await call.succeed();
  }
  await until(async () => {
    const told = await read();
    expect([told.value("atelier_sockets_open"), told.value("atelier_subscriptions_open")]).toEqual([0, 0]);
    expect(told.value("atelier_frames_sent_total")).toBeGreaterThan(sent);
  });
});

test("operations and transactions are told by how they end", async () => {
  const ended = (outcome: string, type: string) => ["atelier_operation_seconds_count", { outcome, type }] as const;
  const grown = await growth(
    [ended("answered", "query"), ended("refused", "query"), ended("refused", "unknown")],
    async () => {
      await app.member.query("{ __typename }");
      await app.member.send(`{ generation(id: "nonsense") { id } }`);
      await app.member.send("{");
    },
  );
  expect(grown[0]).toBe(1);
  expect(grown.reduce((sum, count) => sum + count)).toBe(3);
  const told = await read();
  expect(told.value("atelier_database_transaction_seconds_count", { outcome: "committed" })).toBeGreaterThan(10);
  expect(told.value("atelier_database_transaction_seconds_count", { role: "atelier_dispatcher" })).toBeGreaterThan(1);
  expect(told.value("atelier_duty_seconds_count", { duty: "deadlines", outcome: "done" })).toBeGreaterThan(0);
});

test("samples have the labels that the table says", async () => {
  for (const { name, labels } of (await read()).samples()) {
    const metric = documentedMetrics.has(name) ? name : name.replace(/_(bucket|sum|count)$/, "");
    const { le: _, ...others } = labels;
    expect(Object.keys(others).sort(), name).toEqual([...(documentedMetrics.get(metric) ?? [])].sort());
  }
});

test("a ledger that does not agree with a balance is told when the nightly check has run, and dead letters until they are replayed", async () => {
  const first = await createTestApp({ workers: new FakeWorker() });
  expect((await read(first)).value("atelier_dead_letters_open")).toBe(0);
  const id = await first.member.create({ prompt: "lost" });
  await first.db.transaction(asPlatform, async (tx) => {
    await tx.$executeRaw`update generation set state = 'DEAD_LETTERED', finished_at = now()`;
    await tx.$executeRaw`update limits set used = used + 2500000 where level = 'TENANT' and kind = 'CREDITS' and "window" = 'TOTAL'`;
  });
  await first.stop({ keepData: true });
  const app = await createTestApp({ workers: new FakeWorker() }, { DATA_DIR: first.dataDir });
  await until(async () => expect((await read(app)).value("atelier_ledger_drift_credits")).toBe(2.5));
  const told = await read(app);
  expect([told.value("atelier_ledger_unbalanced_tenants"), told.value("atelier_dead_letters_open")]).toEqual([1, 1]);
  expect(id).toBeDefined();
  await app.stop();
});
