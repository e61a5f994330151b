import { Status } from "nice-grpc";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type FakeCall, FakeWorker } from "../support/fake-worker.ts";
import { expectBalancedLedger } from "../support/ledger.ts";
import { skipPauses } from "../support/pauses.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";

const GUILTY = "guilty";

describe("a group that its worker fails", () => {
  let worker: FakeWorker;
  let app: TestApp;

  beforeEach(async () => {
    worker = new FakeWorker(4);
    app = await createTestApp({ workers: worker });
    await skipPauses(app.db);
  });
  afterEach(async () => {
    await expectBalancedLedger(app.db);
    await app.stop();
  });

  const nextGroup = async (): Promise<FakeCall[]> => {
    const first = await worker.nextCall();
    const group = [first];
    while (group.length < first.request.group!.size) group.push(await worker.nextCall());
    return group;
  };
  /** Those of these prompts that wait together for the worker. */
  const createTogether = async (prompts: readonly string[]): Promise<string[]> => {
    const blocker = await app.member.create({ prompt: "blocker", count: 4 });
    const call = await worker.nextCall();
    const ids: string[] = [];
    for (const prompt of prompts) ids.push(await app.member.create({ prompt }));
    await call.started().succeed();
    await app.member.finished(blocker);
    return ids;
  };
  /** What runs, group by group, until all have ended: one with the guilty one fails, every other one succeeds. */
  const runAll = async (ids: readonly string[], fail: (group: readonly FakeCall[]) => void): Promise<string[][]> => {
    const groups: string[][] = [];
    const ended = Promise.all(ids.map((id) => app.member.finished(id))).then(() => undefined);
    for (;;) {
      const group = await Promise.race([nextGroup(), ended]);
      if (group === undefined) return groups;
      const prompts = group.map(({ prompt }) => prompt);
      groups.push(prompts.toSorted());
      for (const call of group) call.started().step(1);
      if (prompts.includes(GUILTY)) fail(group);
      else for (const call of group) await call.succeed();
    }
  };
  const shown = async (id: string) => {
    const { state, attempts, creditsCharged } = await app.member.generation(id);
    return { state, failures: attempts.flatMap(({ failureClass }: any) => failureClass ?? []), creditsCharged };
  };
  const quarantines = async (): Promise<number> =>
    (await app.owner.query(`{ workers(pool: "local") { faults } }`)).workers[0].faults;

  test("because one of them kills it is halved until that one is alone and given up; the others succeed", async () => {
    const prompts = ["a", GUILTY, "c", "d", "bystander"];
    const ids = await createTogether(prompts);
    const groups = await runAll(ids, (group) => {
      for (const call of group) call.fail(Status.UNAVAILABLE, "gone");
    });
    const lost = groups.filter((group) => group.includes(GUILTY));
    expect(lost[0]).toEqual(["a", "c", "d", GUILTY]);
    expect(lost.filter(({ length }) => length === 1)).toHaveLength(3);
    expect(lost.slice(1).every(({ length }) => length <= 2)).toBe(true);
    expect(groups.filter((group) => group.includes("bystander"))).toEqual([["bystander"]]);
    const [guilty, ...innocents] = await Promise.all([ids[1]!, ids[0]!, ids[2]!, ids[3]!].map(shown));
    const times = (count: number): string[] => Array(count).fill("WORKER_LOST");
    expect(guilty).toEqual({ state: "DEAD_LETTERED", failures: times(lost.length), creditsCharged: "0" });
    for (const [i, prompt] of ["a", "c", "d"].entries()) {
      const failures = times(lost.filter((group) => group.includes(prompt)).length);
      expect(innocents[i]).toMatchObject({ state: "SUCCEEDED", failures });
    }
    expect(await shown(ids[4]!)).toMatchObject({ state: "SUCCEEDED", failures: [] });
    expect(await quarantines()).toBe(0);
  });

  test("with an error for all of them is halved like one that was lost", async () => {
    const ids = await createTogether(["a", GUILTY]);
    const groups = await runAll(ids, (group) => {
      for (const call of group) call.fail(Status.INTERNAL, "a run that they shared");
    });
    expect(groups.filter((group) => group.includes(GUILTY)).map(({ length }) => length)).toEqual([2, 1, 1, 1]);
    expect((await Promise.all(ids.map(shown))).map(({ state }) => state)).toEqual(["SUCCEEDED", "DEAD_LETTERED"]);
  });

  test("with an error for one of them goes on without it", async () => {
    const ids = await createTogether(["a", GUILTY]);
    const groups = await runAll(ids, (group) => {
      for (const call of group)
        if (call.prompt === GUILTY) call.fail(Status.INTERNAL, "its own");
        else void call.succeed();
    });
    expect(groups.map(({ length }) => length)).toEqual([2, 1, 1, 1]);
    const [a, guilty] = await Promise.all(ids.map(shown));
    expect(a).toMatchObject({ state: "SUCCEEDED", failures: [] });
    expect(guilty).toMatchObject({ state: "DEAD_LETTERED", failures: Array(4).fill("INTERNAL") });
  });
});

test("a worker that fails different generations is quarantined, and one that fails the same is not", async () => {
  const worker = new FakeWorker();
  const app = await createTestApp({ workers: worker });
  await skipPauses(app.db);
  const report = async () => (await app.owner.query(`{ workers(pool: "local") { faults state } }`)).workers[0];
  try {
    const poison = await app.member.create({ prompt: "poison" });
    for (let i = 0; i < 3; i++) (await worker.nextCall()).started().fail(Status.INTERNAL);
    expect((await app.member.finished(poison)).state).toBe("DEAD_LETTERED");
    expect(await report()).toMatchObject({ faults: 0 });
    const id = await app.member.create({ prompt: "another one" });
    (await worker.nextCall()).started().fail(Status.INTERNAL);
    await expect.poll(report).toEqual({ faults: 1, state: "QUARANTINED" });
    expect((await app.member.generation(id)).state).toBe("QUEUED");
  } finally {
    await app.stop();
  }
});
