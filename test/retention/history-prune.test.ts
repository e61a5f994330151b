import { expect, onTestFinished, test } from "vitest";
import { asPlatform } from "../../src/platform/access.ts";
import { fromGlobalId } from "../../src/platform/ids.ts";
import { Metrics } from "../../src/platform/metrics.ts";
import { HistoryPrune } from "../../src/retention/history-prune.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import { expectBalancedLedger } from "../support/ledger.ts";
import { createTestApp } from "../support/test-app.ts";

async function setup() {
  const worker = new FakeWorker();
  const app = await createTestApp({ workers: worker });
  onTestFinished(() => app.stop());
  const draw = async (): Promise<string> => {
    const id = await app.member.create({ prompt: "a red circle" });
    await (await worker.nextCall()).started().succeed();
    await app.member.finished(id);
    return id;
  };
  /** As if that many days had passed since it ended. */
  const age = (id: string, days: number) =>
    app.db.transaction(
      asPlatform,
      (tx) =>
        tx.$executeRaw`update generation set created_at = created_at - make_interval(days => ${days}::int),
          finished_at = finished_at - make_interval(days => ${days}::int) where id = ${fromGlobalId("Generation", id)}::uuid`,
    );
  const count = (id: string) =>
    app.db.transaction(asPlatform, async (tx) => {
      const generationId = fromGlobalId("Generation", id);
      return [
        await tx.milestone.count({ where: { generationId } }),
        await tx.attempt.count({ where: { generationId } }),
      ];
    });
  const metrics = new Metrics({ role: "all", pool: "local" });
  const prune = (days: number) => new HistoryPrune({ db: app.db, metrics, days }).runOnce();
  return { app, worker, draw, age, count, prune };
}

test("milestones and attempts go once their generation has ended for long enough, and nothing else does", async () => {
  const { app, worker, draw, age, count, prune } = await setup();
  const [old, young] = [await draw(), await draw()];
  const open = await app.member.create({ prompt: "a blue square" });
  const call = await worker.nextCall();
  await age(old, 8);
  await age(young, 6);
  expect(await prune(0)).toBe(0); // kept for ever
  expect(await prune(7)).toBe(1);
  expect(await prune(7)).toBe(0);
  expect(await count(old)).toEqual([0, 0]);
  expect(await count(young)).toEqual([3, 1]);
  expect((await count(open))[1]).toBe(1);
  const { state, attempts, images } = await app.member.generation(old);
  expect({ state, attempts, images: images.length }).toEqual({ state: "SUCCEEDED", attempts: [], images: 1 });
  await call.started().succeed();
  await app.member.finished(open);
  await expectBalancedLedger(app.db);
});

test("who watches a generation afterwards is told its end, from wherever they resume", async () => {
  const { app, draw, age, prune } = await setup();
  const id = await draw();
  await age(id, 100);
  await prune(90);
  for (const afterSeq of [0, 1, 3]) {
    const events: unknown[] = [];
    for await (const event of app.member.events(id, afterSeq)) events.push(event);
    expect(events).toMatchObject([{ __typename: "FinishedEvent", seq: 3, attempt: 1, state: "SUCCEEDED" }]);
  }
});

test("dead letters keep theirs until they are deleted", async () => {
  const { app, draw, age, count, prune } = await setup();
  const id = await draw();
  await age(id, 100);
  const change = (sql: string) => app.db.transaction(asPlatform, (tx) => tx.$executeRawUnsafe(sql));
  await change("update generation set state = 'DEAD_LETTERED'");
  expect(await prune(90)).toBe(0);
  expect(await count(id)).toEqual([3, 1]);
  await change("update generation set deleted_at = now()");
  expect(await prune(90)).toBe(1);
});
