import { Status } from "nice-grpc";
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { asPlatform } from "../../src/platform/access.ts";
import { fromGlobalId } from "../../src/platform/ids.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { type FakeCall, FakeWorker } from "../support/fake-worker.ts";
import { CANCEL } from "../support/graphql-client.ts";
import { expectBalancedLedger } from "../support/ledger.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";

const STEPS = 18;
const STEP_MS = 1000;

let clock: FakeClock;
let worker: FakeWorker;
let app: TestApp;

async function setup(slots = 1): Promise<void> {
  clock = new FakeClock();
  worker = new FakeWorker(slots, 1);
  app = await createTestApp({ workers: worker, clock });
}
afterEach(async () => {
  await expectBalancedLedger(app.db);
});

const create = (prompt: string, input: object = {}) => app.member.create({ prompt }, input);
const stateOf = async (id: string): Promise<string> => (await app.member.generation(id)).state;
const outcomesOf = async (id: string): Promise<string[]> =>
  (await app.member.generation(id)).attempts.map(({ outcome }: { outcome: string }) => outcome);
const isAhead = ({ request }: FakeCall): boolean => request.group!.standby;

/** Its worker begins, and the dispatcher has heard it. */
async function begin(id: string, call: FakeCall): Promise<void> {
  call.started().step(0);
  for await (const event of app.member.events(id)) if (event.step === 0) return;
}

/** Takes steps of a second each. */
function step(call: FakeCall, from: number, to: number): void {
  clock.advance((to - from) * STEP_MS);
  call.step(to);
}

/** Runs a generation to its last step, with another one that waits behind it. */
async function runAndQueue(input: object = {}) {
  const first = await create("first");
  const running = await worker.nextCall();
  const second = await create("second", input);
  await begin(first, running);
  step(running, 0, STEPS - 1);
  const ahead = await worker.nextCall();
  return { first, running, second, ahead };
}

describe("what comes next on a worker", () => {
  beforeAll(() => setup());
  afterAll(() => app.stop());

  test("is sent ahead in the last step of what runs, not before, and is charged from its start", async () => {
    const first = await create("first");
    const running = await worker.nextCall();
    expect(isAhead(running)).toBe(false);
    const second = await create("second");
    await begin(first, running);
    step(running, 0, STEPS - 2);
    for await (const event of app.member.events(first)) if (event.step === STEPS - 2) break;
    expect(await stateOf(second)).toBe("QUEUED");
    step(running, STEPS - 2, STEPS - 1);
    const ahead = await worker.nextCall();
    expect([ahead.prompt, isAhead(ahead)]).toEqual(["second", true]);
    expect(await stateOf(second)).toBe("RUNNING");
    clock.advance(700);
    await running.succeed();
    await app.member.finished(first);
    await begin(second, ahead);
    step(ahead, 0, STEPS - 3);
    await ahead.succeed();
    await app.member.finished(second);
    const rows = await app.db.transaction(
      asPlatform,
      (tx) => tx.$queryRaw<object[]>`select standby_ms as ms, outcome from attempt order by started_at`,
    );
    expect(rows).toEqual([
      { ms: 0, outcome: "SUCCEEDED" },
      { ms: 700, outcome: "SUCCEEDED" },
    ]);
  });

  test("is looked for when it comes after the last step has begun, too", async () => {
    await create("first");
    const running = await worker.nextCall();
    running.started().step(STEPS);
    const second = await create("second");
    const ahead = await worker.nextCall();
    expect(isAhead(ahead)).toBe(true);
    const third = await create("third");
    expect(await stateOf(third)).toBe("QUEUED"); // one at a time
    for (const call of [running, ahead.started()]) await call.succeed();
    await (await worker.nextCall()).started().succeed();
    for (const id of [second, third]) expect((await app.member.finished(id)).state).toBe("SUCCEEDED");
  });

  test("can be cancelled before it starts, free of charge; another one takes its place", async () => {
    const { running, second, ahead } = await runAndQueue();
    const third = await create("third");
    await app.member.query(CANCEL, { id: second });
    await ahead.hungUp;
    const { state, generation } = await app.member.finished(second);
    expect([state, generation.creditsCharged]).toEqual(["CANCELED", "0"]);
    const other = await worker.nextCall();
    expect([other.prompt, isAhead(other)]).toEqual(["third", true]);
    await running.succeed();
    await other.started().succeed();
    expect((await app.member.finished(third)).state).toBe("SUCCEEDED");
  });

  test("goes back uncounted when its worker dies or has no room for it, and both are done elsewhere", async () => {
    const { first, running, second, ahead } = await runAndQueue();
    ahead.fail(Status.RESOURCE_EXHAUSTED);
    await expect.poll(() => outcomesOf(second)).toEqual(["RETURNED"]);
    clock.advance(1000); // a pause after a refusal
    const again = await worker.nextCall();
    expect([again.prompt, isAhead(again)]).toEqual(["second", true]);
    running.fail(Status.UNAVAILABLE);
    again.fail(Status.UNAVAILABLE);
    for (let i = 0; i < 2; i++) await (await worker.nextCall()).started().succeed();
    for (const id of [first, second]) expect((await app.member.finished(id)).state).toBe("SUCCEEDED");
    expect(await outcomesOf(first)).toEqual(["FAILED", "SUCCEEDED"]);
    expect(await outcomesOf(second)).toEqual(["RETURNED", "RETURNED", "SUCCEEDED"]);
  });

  test("is to blame when the worker dies under it, and not what only has to hand over what it drew", async () => {
    const { first, running, second, ahead } = await runAndQueue();
    await begin(second, ahead);
    for (const call of [running, ahead]) call.fail(Status.UNAVAILABLE);
    for (const id of [first, second]) await expect.poll(() => outcomesOf(id)).toContain("FAILED");
    const counted = async (id: string) =>
      app.db.transaction(asPlatform, (tx) =>
        tx.generation.findUniqueOrThrow({
          where: { id: fromGlobalId("Generation", id) },
          select: { failedAttempts: true },
        }),
      );
    expect([await counted(first), await counted(second)]).toEqual([{ failedAttempts: 0 }, { failedAttempts: 1 }]);
    for (let i = 0; i < 2; i++) await (await worker.nextCall()).started().succeed();
    for (const id of [first, second]) expect((await app.member.finished(id)).state).toBe("SUCCEEDED");
  });

  test("is taken back when what runs takes much longer than expected, and is sent when that has ended", async () => {
    const { running, second, ahead } = await runAndQueue();
    clock.advance(10 * STEP_MS);
    running.step(STEPS - 1); // it lives
    clock.advance(4 * STEP_MS);
    await ahead.yieldRequested;
    ahead.yielded();
    await expect.poll(() => outcomesOf(second)).toEqual(["RETURNED"]);
    expect(worker.stuck).toEqual([]);
    await running.succeed();
    const again = await worker.nextCall();
    expect(isAhead(again)).toBe(false);
    await again.started().succeed();
    expect((await app.member.finished(second)).state).toBe("SUCCEEDED");
  });

  test("gives way as BATCH to what is more urgent", async () => {
    const { running, second, ahead } = await runAndQueue({ priority: "BATCH" });
    const urgent = await create("urgent", { priority: "INTERACTIVE" });
    await ahead.yieldRequested;
    ahead.yielded();
    const next = await worker.nextCall();
    expect([next.prompt, isAhead(next)]).toEqual(["urgent", true]);
    await running.succeed();
    await next.started().succeed();
    await (await worker.nextCall()).started().succeed();
    for (const id of [urgent, second]) expect((await app.member.finished(id)).state).toBe("SUCCEEDED");
    expect(await outcomesOf(second)).toEqual(["RETURNED", "SUCCEEDED"]);
  });

  test("may not yield before its start unless it was sent ahead", async () => {
    const id = await create("first");
    (await worker.nextCall()).yielded();
    await expect.poll(() => outcomesOf(id)).toEqual(["RETURNED"]);
    expect((await app.member.generation(id)).attempts[0].message).toBe("no worker took it");
    await app.member.query(CANCEL, { id });
  });
});

test("a group is sent ahead as a whole, once all that runs is in its last step", async () => {
  await setup(2);
  onTestFinished(() => app.stop());
  await create("blocker");
  const blocker = await worker.nextCall();
  const byPrompt = new Map([
    ["a", await create("a")],
    ["b", await create("b")],
  ]);
  await blocker.started().succeed();
  const group = [await worker.nextCall(), await worker.nextCall()] as const;
  const ids = [await create("c"), await create("d")];
  const [quick, slow] = group;
  for (const call of group) await begin(byPrompt.get(call.prompt)!, call);
  step(quick, 0, STEPS - 1);
  slow.step(STEPS - 2);
  for await (const event of app.member.events(byPrompt.get(slow.prompt)!)) if (event.step === STEPS - 2) break;
  expect(await stateOf(ids[0]!)).toBe("QUEUED");
  slow.step(STEPS - 1);
  const ahead = [await worker.nextCall(), await worker.nextCall()];
  expect(ahead.map(({ prompt }) => prompt).sort()).toEqual(["c", "d"]);
  expect(new Set(ahead.map(({ request }) => JSON.stringify(request.group))).size).toBe(1);
  expect(ahead[0]!.request.group).toMatchObject({ size: 2, standby: true });
  for (const call of [...group, ...ahead.map((each) => each.started())]) await call.succeed();
  for (const id of ids) expect((await app.member.finished(id)).state).toBe("SUCCEEDED");
});
