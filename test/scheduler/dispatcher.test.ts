import { randomUUID } from "node:crypto";
import { Status } from "nice-grpc";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { asPlatform } from "../../src/platform/access.ts";
import { type FakeCall, FakeWorker } from "../support/fake-worker.ts";
import { CANCEL } from "../support/graphql-client.ts";
import { expectBalancedLedger } from "../support/ledger.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";

describe("a dispatcher", () => {
  let worker: FakeWorker;
  let app: TestApp;

  beforeAll(async () => {
    worker = new FakeWorker();
    app = await createTestApp({ workers: worker });
  });
  afterEach(() => expectBalancedLedger(app.db));
  afterAll(() => app.stop());

  test("sends a queued generation to a free slot and completes it", async () => {
    const id = await app.member.create({ prompt: "a red circle", seed: "7" });
    const call = await worker.nextCall();
    expect(call.request.task?.value).toMatchObject({
      prompt: "a red circle",
      drawing: { seed: 7n, steps: 18, count: 1, guidanceScale: 3 },
    });
    expect(call.request.resumeFrom).toBeUndefined();
    await call.started().step(9).succeed();
    const { state, generation } = await app.member.finished(id);
    expect(state).toBe("SUCCEEDED");
    expect(generation.creditsCharged).toBe("0.165888");
    expect(generation.images).toHaveLength(1);
    expect((await app.member.generation(id)).recipe).toEqual({
      buildDigest: "fake",
      provider: "cpu",
      threads: 1,
      groupSize: 1,
    });
  });

  test("claims nothing while no slot is free, and the oldest of the most urgent class first", async () => {
    const running = await app.member.create({ prompt: "first" });
    const first = await worker.nextCall();
    await app.member.create({ prompt: "batch" }, { priority: "BATCH" });
    await app.member.create({ prompt: "standard" });
    await app.member.create({ prompt: "interactive" }, { priority: "INTERACTIVE" });
    const states = await app.member.query("{ generations(first: 4) { nodes { state } } }");
    expect(states.generations.nodes.map((node: { state: string }) => node.state)).toEqual([
      "QUEUED",
      "QUEUED",
      "QUEUED",
      "RUNNING",
    ]);
    await first.started().succeed();
    await app.member.finished(running);
    const prompts: string[] = [];
    for (let i = 0; i < 3; i++) {
      const call = await worker.nextCall();
      prompts.push(call.prompt);
      await call.started().succeed();
    }
    expect(prompts).toEqual(["interactive", "standard", "batch"]);
  });

  test("tries again after a failure, and goes on from the newest checkpoint", async () => {
    const id = await app.member.create({ prompt: "a red circle" });
    const first = await worker.nextCall();
    first.started().step(5).checkpoint(5).step(6).fail(Status.INTERNAL, "out of luck");
    const second = await worker.nextCall();
    expect(second.request.resumeFrom?.stepsDone).toBe(5);
    expect(Buffer.from(second.request.resumeFrom!.state).toString()).toBe("state after 5");
    await second.started(5).step(6).succeed();
    expect((await app.member.finished(id)).state).toBe("SUCCEEDED");
    const { attempts } = await app.member.generation(id);
    expect(attempts.map(({ outcome, message, stepsDone }: any) => ({ outcome, message, stepsDone }))).toEqual([
      { outcome: "FAILED", message: expect.stringMatching(/^The worker failed/), stepsDone: 6 },
      { outcome: "SUCCEEDED", message: null, stepsDone: 18 },
    ]);
  });

  test("gives a generation up after three failed attempts, free of charge", async () => {
    const id = await app.member.create({ prompt: "a red circle" });
    let lease = "";
    for (let attempt = 1; attempt <= 3; attempt++) {
      const call = await worker.nextCall();
      lease = call.request.leaseId;
      call.started().fail(Status.INTERNAL, "/private/path: an internal of the worker");
    }
    const { state, failure, generation } = await app.member.finished(id);
    expect(state).toBe("DEAD_LETTERED");
    expect(failure).toEqual({
      code: "INTERNAL",
      message: `The worker failed. The log has the reason under ${lease}.`,
    });
    expect(generation.creditsCharged).toBe("0");
  });

  test("fails a generation that the model refuses at the first attempt, free of charge", async () => {
    const id = await app.member.create({ prompt: "a red circle" });
    (await worker.nextCall()).fail(Status.INVALID_ARGUMENT, "The prompt has 5000 tokens. Shorten it.");
    const { state, failure, generation } = await app.member.finished(id);
    expect(state).toBe("FAILED");
    expect(failure).toEqual({ code: "INVALID_INPUT", message: "The prompt has 5000 tokens. Shorten it." });
    expect(generation.creditsCharged).toBe("0");
  });

  test("starts anew when a worker refuses the checkpoint of an earlier attempt", async () => {
    const id = await app.member.create({ prompt: "a red circle" });
    (await worker.nextCall()).started().checkpoint(4).yielded();
    (await worker.nextCall()).fail(Status.INVALID_ARGUMENT, "The checkpoint does not fit this request.");
    const third = await worker.nextCall();
    expect(third.request.resumeFrom).toBeUndefined();
    await third.started().succeed();
    expect((await app.member.finished(id)).state).toBe("SUCCEEDED");
  });

  test("does not count attempts that yielded or were not taken", async () => {
    const id = await app.member.create({ prompt: "a red circle" });
    for (let step = 1; step <= 4; step++)
      (await worker.nextCall())
        .started(step - 1)
        .checkpoint(step)
        .yielded();
    (await worker.nextCall()).fail(Status.RESOURCE_EXHAUSTED);
    for (let i = 0; i < 2; i++) (await worker.nextCall()).started(4).fail(Status.INTERNAL); // one less than too many
    const last = await worker.nextCall();
    expect(last.request.resumeFrom?.stepsDone).toBe(4);
    await last.started(4).succeed();
    expect((await app.member.finished(id)).state).toBe("SUCCEEDED");
    const { attempts } = await app.member.generation(id);
    expect(attempts.map(({ outcome }: any) => outcome)).toEqual([
      "YIELDED",
      "YIELDED",
      "YIELDED",
      "YIELDED",
      "RETURNED",
      "FAILED",
      "FAILED",
      "SUCCEEDED",
    ]);
  });

  test("hangs up on a running generation that is cancelled, and charges the steps done", async () => {
    const id = await app.member.create({ prompt: "a red circle" });
    const call = await worker.nextCall();
    call.started().step(6);
    for await (const event of app.member.events(id)) if (event.step === 6) break;
    const { cancelGeneration } = await app.member.query(CANCEL, { id });
    expect(cancelGeneration.userErrors).toEqual([]);
    await call.hungUp;
    const { state, generation } = await app.member.finished(id);
    expect(state).toBe("CANCELED");
    expect(generation.creditsCharged).toBe("0.055296"); // 6 of 18 steps
  });

  test("ends as cancelled, not retried, when the worker is lost after the cancellation", async () => {
    const id = await app.member.create({ prompt: "a red circle" });
    const call = await worker.nextCall();
    call.started().step(3);
    for await (const event of app.member.events(id)) if (event.step === 3) break;
    await app.db.transaction(asPlatform, (tx) => tx.$executeRaw`update generation set cancel_requested_at = now()`); // no doorbell
    call.fail(Status.UNAVAILABLE);
    expect((await app.member.finished(id)).state).toBe("CANCELED");
  });

  test("keeps an attempt whose lease ran out while this process was held up", async () => {
    const id = await app.member.create({ prompt: "a red circle" });
    const call = await worker.nextCall();
    call.started().step(2);
    for await (const event of app.member.events(id)) if (event.step === 2) break;
    await app.db.transaction(
      asPlatform,
      (tx) =>
        tx.$executeRaw`update generation set lease_expires_at = now() - interval '1 minute' where state = 'RUNNING'`,
    );
    const isHeld = () =>
      app.db.transaction(asPlatform, async (tx) => {
        const [row] = await tx.$queryRaw<{ isHeld: boolean }[]>`
          select lease_expires_at > now() as "isHeld" from generation where state = 'RUNNING'`;
        return row?.isHeld;
      });
    await expect.poll(isHeld).toBe(true);
    await call.succeed();
    expect((await app.member.finished(id)).state).toBe("SUCCEEDED");
    const { attempts } = await app.member.generation(id);
    expect(attempts.map(({ outcome }: any) => outcome)).toEqual(["SUCCEEDED"]);
  });

  test("ignores what an attempt says whose lease is another's by now, and queues the generation again", async () => {
    const id = await app.member.create({ prompt: "a red circle" });
    const stale = await worker.nextCall();
    stale.started().step(2);
    for await (const event of app.member.events(id)) if (event.step === 2) break;
    const other = randomUUID();
    await app.db.transaction(asPlatform, async (tx) => {
      await tx.$executeRaw`update attempt set lease_id = ${other}::uuid where ended_at is null`;
      await tx.$executeRaw`update generation set lease_id = ${other}::uuid, lease_expires_at = now() - interval '1 second' where state = 'RUNNING'`;
    });
    await stale.succeed();
    const second = await worker.nextCall(); // the rescuer found the lease that had run out
    expect((await app.member.generation(id)).images).toEqual([]);
    await second.started().succeed();
    expect((await app.member.finished(id)).state).toBe("SUCCEEDED");
    const { attempts, images } = await app.member.generation(id);
    expect(attempts.map(({ outcome }: any) => outcome)).toEqual(["ORPHANED", "SUCCEEDED"]);
    expect(images).toHaveLength(1);
  });
});

describe("a worker with several slots", () => {
  let worker: FakeWorker;
  let app: TestApp;

  beforeAll(async () => {
    worker = new FakeWorker(4);
    app = await createTestApp({ workers: worker });
  });
  afterEach(() => expectBalancedLedger(app.db));
  afterAll(() => app.stop());

  const nextCalls = (count: number) => Promise.all(Array.from({ length: count }, () => worker.nextCall()));
  const createAll = (all: readonly (readonly [prompt: string, settings?: object, input?: object])[]) =>
    all.reduce<Promise<string[]>>(
      async (ids, [prompt, settings, input]) => [
        ...(await ids),
        await app.member.create({ prompt, ...settings }, input),
      ],
      Promise.resolve([]),
    );
  const promptsOf = (calls: readonly { prompt: string }[]) => calls.map(({ prompt }) => prompt).sort();
  const groupsOf = (calls: readonly { request: { group?: object | undefined } }[]) =>
    new Set(calls.map(({ request }) => JSON.stringify(request.group)));

  test("gets nothing more while it works; then what fits to the oldest is sent to it as one group", async () => {
    const ids = await createAll([["first"]]);
    const first = await worker.nextCall();
    expect(first.request.group?.size).toBe(1);
    ids.push(
      ...(await createAll([["a"], ["b"], ["other", { steps: 6 }], ["c"], ["d"], ["e"], ["also other", { steps: 6 }]])),
    );
    const states = await app.member.query("{ generations(first: 8) { nodes { state } } }");
    expect(states.generations.nodes.filter(({ state }: any) => state === "RUNNING")).toHaveLength(1);
    await first.started().succeed();
    for (const prompts of [["a", "b", "c", "d"], ["also other", "other"], ["e"]]) {
      const calls = await nextCalls(prompts.length);
      expect(promptsOf(calls)).toEqual(prompts);
      expect([...groupsOf(calls)]).toEqual([
        JSON.stringify({ id: calls[0]!.request.group!.id, size: prompts.length, standby: false }),
      ]);
      for (const call of calls) await call.started().succeed();
    }
    for (const id of ids) expect((await app.member.finished(id)).state).toBe("SUCCEEDED");
  });

  test("has members that end on their own: one succeeds, one is refused, one is cancelled, one is tried again alone", async () => {
    const [blocker, ...ids] = await createAll([["blocker"], ["good"], ["refused"], ["cancelled"], ["broken"]]);
    const first = await worker.nextCall();
    await first.started().succeed();
    await app.member.finished(blocker!);
    const calls = await nextCalls(4);
    expect(groupsOf(calls).size).toBe(1);
    const call = (prompt: string) => calls.find((each) => each.prompt === prompt)!;
    call("refused").fail(Status.INVALID_ARGUMENT, "The prompt is too long. Shorten it.");
    call("cancelled").started().step(6);
    for await (const event of app.member.events(ids[2]!)) if (event.step === 6) break;
    await app.member.query(CANCEL, { id: ids[2] });
    await call("cancelled").hungUp;
    call("broken").started().step(3).fail(Status.INTERNAL);
    await expect.poll(async () => (await app.member.generation(ids[3]!)).state).toBe("QUEUED");
    const [late] = await createAll([["late"]]);
    await call("good").started().succeed();
    const singles: FakeCall[] = [];
    for (let i = 0; i < 2; i++) {
      const call = await worker.nextCall();
      singles.push(
        await call
          .started()
          .succeed()
          .then(() => call),
      );
    }
    expect(promptsOf(singles)).toEqual(["broken", "late"]);
    expect(singles.map(({ request }) => request.group?.size)).toEqual([1, 1]);
    const ends = await Promise.all([...ids, late!].map((id) => app.member.finished(id)));
    expect(ends.map(({ state }) => state)).toEqual(["SUCCEEDED", "FAILED", "CANCELED", "SUCCEEDED", "SUCCEEDED"]);
    expect(ends.map(({ generation }) => generation.creditsCharged)).toEqual([
      "0.165888",
      "0",
      "0.055296", // 6 of 18 steps
      "0.165888",
      "0.165888",
    ]);
  });

  test("looks no further than 32 generations behind whose turn it is", async () => {
    const [blocker] = await createAll([["blocker"]]);
    const first = await worker.nextCall();
    const other = Array.from({ length: 31 }, () => ["other", { steps: 1 }] as const);
    const ids = await createAll([["head"], ...other, ["near"], ["far"]]);
    await first.started().succeed();
    await app.member.finished(blocker!);
    const calls = await nextCalls(2);
    expect(promptsOf(calls)).toEqual(["head", "near"]);
    for (const call of calls) await call.started().succeed();
    for (let i = 0; i < ids.length - 2; i++) await (await worker.nextCall()).started().succeed();
    for (const id of ids) await app.member.finished(id);
  });
});

test("a dispatcher that stops asks its running attempts to yield, and the generation waits for the next start", async () => {
  const worker = new FakeWorker();
  const app = await createTestApp({ workers: worker });
  await app.member.create({ prompt: "a red circle" });
  const call = await worker.nextCall();
  call.started().step(3);
  void call.yieldRequested.then(() => call.checkpoint(3).yielded());
  await app.stop({ keepData: true });
  const next = new FakeWorker();
  const again = await createTestApp({ workers: next }, { DATA_DIR: app.dataDir });
  const resumed = await next.nextCall();
  expect(resumed.request.resumeFrom?.stepsDone).toBe(3);
  await resumed.started(3).succeed();
  const { generations } = await again.member.query("{ generations(first: 1) { nodes { id } } }");
  expect((await again.member.finished(generations.nodes[0].id)).state).toBe("SUCCEEDED");
  await again.stop();
});

describe("deadlines", () => {
  let worker: FakeWorker;
  let app: TestApp;

  beforeAll(async () => {
    worker = new FakeWorker();
    app = await createTestApp({ workers: worker });
  });
  afterAll(() => app.stop());

  test("that pass before the start end a generation as EXPIRED, free of charge", async () => {
    const blocker = await app.member.create({ prompt: "blocker" });
    const call = await worker.nextCall();
    const id = await app.member.create({ prompt: "too late" }, { deadlineMs: 1 });
    const { state, failure, generation } = await app.member.finished(id);
    expect(state).toBe("EXPIRED");
    expect(failure.code).toBe("DEADLINE");
    expect(generation.creditsCharged).toBe("0");
    await call.started().succeed();
    await app.member.finished(blocker);
  });

  test("that pass while a generation runs cancel it, charged for the steps done", async () => {
    const id = await app.member.create({ prompt: "too slow" }, { deadlineMs: 3600_000 });
    const call = await worker.nextCall();
    call.started().step(9);
    for await (const event of app.member.events(id)) if (event.step === 9) break;
    await app.db.transaction(
      asPlatform,
      (tx) => tx.$executeRaw`update generation set deadline_at = now() where state = 'RUNNING'`,
    );
    const { state, failure, generation } = await app.member.finished(id);
    expect(state).toBe("CANCELED");
    expect(failure.code).toBe("DEADLINE");
    expect(generation.creditsCharged).toBe("0.082944");
  });
});
