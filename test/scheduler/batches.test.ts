import { Status } from "nice-grpc";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { CANCEL_BATCH, createBatch, finishedBatch, readBatch, readItems, readResults } from "../support/batches.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import { expectBalancedLedger } from "../support/ledger.ts";
import { skipPauses } from "../support/pauses.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";

const SLOTS = 8;
const WINDOW = 64;

describe("the items of a batch", () => {
  let worker: FakeWorker;
  let app: TestApp;

  beforeAll(async () => {
    worker = new FakeWorker(SLOTS);
    app = await createTestApp({ workers: worker });
    await skipPauses(app.db);
  });
  afterEach(() => expectBalancedLedger(app.db));
  afterAll(() => app.stop());

  test("are settled one by one: what succeeded is charged, what failed is free", async () => {
    const id = await createBatch(app.member, ["good", { customId: "bad one", prompt: "bad" }, "also good"]);
    for (let i = 0; i < 3; i++) {
      const call = await worker.nextCall();
      if (call.prompt === "bad") call.fail(Status.INVALID_ARGUMENT, "The prompt has 5000 tokens. Shorten it.");
      else await call.started().succeed();
    }
    expect(await finishedBatch(app.member, id)).toMatchObject({
      status: "FINISHED",
      counts: { waiting: 0, queued: 0, running: 0, succeeded: 2, failed: 1, canceled: 0 },
      credits: { reserved: "0.497664", charged: "0.331776", held: "0" },
    });
    const error = { code: "INVALID_INPUT", message: "The prompt has 5000 tokens. Shorten it." };
    const { nodes } = await readItems(app.member, id);
    expect(nodes.map(({ status, error }: any) => [status, error])).toEqual([
      ["SUCCEEDED", null],
      ["FAILED", error],
      ["SUCCEEDED", null],
    ]);
    const [good, bad] = await readResults(app.member, id);
    expect(bad).toMatchObject({ customId: "bad one", status: "FAILED", error, creditsCharged: "0", images: [] });
    expect(good).toMatchObject({ status: "SUCCEEDED", creditsCharged: "0.165888", images: [{ width: 96 }] });
    expect((await fetch(good.images[0].url)).headers.get("content-type")).toBe("image/png");
    const { cancelBatch } = await app.member.query(CANCEL_BATCH, { id });
    expect(cancelBatch.userErrors).toMatchObject([{ code: "NOT_CANCELLABLE" }]);
  });

  test("fail when every attempt did, and the others go on", async () => {
    const id = await createBatch(app.member, ["poison", "good"]);
    // The first attempt is in company, where a failure counts for nobody.
    for (let calls = 0; calls < 5; calls++) {
      const call = await worker.nextCall();
      if (call.prompt === "poison") call.started().fail(Status.INTERNAL);
      else await call.started().succeed();
    }
    expect(await finishedBatch(app.member, id)).toMatchObject({ counts: { succeeded: 1, failed: 1 } });
    const { nodes } = await readItems(app.member, id);
    expect(nodes[0]).toMatchObject({ status: "FAILED", generation: { state: "DEAD_LETTERED" } });
  });

  test("are drawn in order, each once, never more than a window of them queued or running", async () => {
    const total = WINDOW + SLOTS;
    const id = await createBatch(
      app.member,
      Array.from({ length: total }, (_, i) => `picture ${i}`),
    );
    const prompts: string[] = [];
    let most = 0;
    for (let i = 0; i < total; i++) {
      const call = await worker.nextCall();
      prompts.push(call.prompt);
      const { counts } = await readBatch(app.member, id);
      most = Math.max(most, counts.queued + counts.running);
      await call.started().succeed();
    }
    await finishedBatch(app.member, id);
    expect(most).toBe(WINDOW);
    expect(new Set(prompts).size).toBe(total);
    const order = prompts.map((prompt) => Number(prompt.split(" ")[1]));
    for (const [position, index] of order.entries()) expect(Math.abs(position - index)).toBeLessThanOrEqual(SLOTS);
    expect((await readBatch(app.member, id)).counts).toMatchObject({ succeeded: total });
  });

  test("do not hold up what is more urgent", async () => {
    const id = await createBatch(
      app.member,
      Array.from({ length: SLOTS + 2 }, () => "batch"),
    );
    const running = await Promise.all(Array.from({ length: SLOTS }, () => worker.nextCall()));
    await app.member.create({ prompt: "urgent" }, { priority: "INTERACTIVE" });
    await Promise.all(running.map((call) => call.started().succeed()));
    const next = await worker.nextCall();
    expect([next.prompt, next.request.group?.size]).toEqual(["urgent", 1]);
    await next.started().succeed();
    for (let i = 0; i < 2; i++) await (await worker.nextCall()).started().succeed();
    await finishedBatch(app.member, id);
  });

  test("end when the batch is canceled midway: what waits is free, what runs is charged for the steps done", async () => {
    const id = await createBatch(
      app.member,
      Array.from({ length: 80 }, () => "a"),
    );
    await (await worker.nextCall()).started().succeed();
    await expect.poll(() => readBatch(app.member, id)).toMatchObject({ counts: { succeeded: 1, running: SLOTS - 1 } });
    const calls = await Promise.all(Array.from({ length: SLOTS - 1 }, () => worker.nextCall()));
    for (const call of calls) call.started().step(9);
    const { nodes } = await readItems(app.member, id);
    const first = nodes.find(({ status }: any) => status === "RUNNING").generation.id;
    for await (const event of app.member.events(first)) if (event.step === 9) break;
    const { cancelBatch } = await app.member.query(CANCEL_BATCH, { id });
    expect(cancelBatch.userErrors).toEqual([]);
    // Those that run may have ended already.
    const status = expect.stringMatching(/^CANCEL(ING|ED)$/);
    expect(cancelBatch.batch).toMatchObject({ status, counts: { waiting: 0, queued: 0 } });
    await Promise.all(calls.map((call) => call.hungUp));
    const { counts, credits, ...batch } = await finishedBatch(app.member, id);
    expect([batch.status, counts]).toMatchObject(["CANCELED", { succeeded: 1, canceled: 79 }]);
    expect(Number(credits.charged)).toBeLessThanOrEqual(0.165888 + (SLOTS * 0.165888) / 2);
    expect(Number(credits.charged)).toBeGreaterThanOrEqual(0.165888 + 0.165888 / 2);
  });
});

test("batches go on where they were after a restart, and lose or repeat no item", async () => {
  const first = new FakeWorker(2);
  const before = await createTestApp({ workers: first });
  const prompts = Array.from({ length: 70 }, (_, i) => `picture ${i}`);
  const id = await createBatch(before.member, prompts);
  for (let i = 0; i < 4; i++) await (await first.nextCall()).started().succeed();
  await expect.poll(() => readBatch(before.member, id)).toMatchObject({ counts: { succeeded: 4, running: 2 } });
  for (let i = 0; i < 2; i++) {
    const call = await first.nextCall();
    call.started();
    void call.yieldRequested.then(() => call.yielded());
  }
  await before.stop({ keepData: true });

  const second = new FakeWorker(4);
  const after = await createTestApp({ workers: second }, { DATA_DIR: before.dataDir });
  for (let i = 0; i < 66; i++) await (await second.nextCall()).started().succeed();
  expect(await finishedBatch(after.member, id)).toMatchObject({ counts: { succeeded: 70 } });
  const results = await readResults(after.member, id);
  expect(results.map(({ prompt }) => prompt)).toEqual(prompts);
  await expectBalancedLedger(after.db);
  await after.stop();
});
