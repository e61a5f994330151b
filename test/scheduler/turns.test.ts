import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { asPlatform } from "../../src/platform/access.ts";
import { allow, CheckerService } from "../support/checker-service.ts";
import { setChecks } from "../support/checks.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { type FakeCall, FakeWorker } from "../support/fake-worker.ts";
import { GraphqlClient } from "../support/graphql-client.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";
import { until } from "../support/until.ts";

/** Of one worker that takes as long for everything. */
class Served {
  constructor(
    private readonly worker: FakeWorker,
    private readonly clock: FakeClock,
    private readonly ms = 100,
  ) {}

  async next(count: number): Promise<readonly string[]> {
    const prompts: string[] = [];
    for (let i = 0; i < count; i++) prompts.push(await this.end(await this.worker.nextCall()));
    return prompts;
  }

  async end(call: FakeCall): Promise<string> {
    call.started();
    this.clock.advance(this.ms);
    await call.succeed();
    return call.prompt;
  }
}

async function queue(client: GraphqlClient, prompt: string, count: number, input: object = {}): Promise<void> {
  for (let i = 0; i < count; i++) await client.create({ prompt }, input);
}

describe("turns in a pool", () => {
  const clock = new FakeClock();
  const worker = new FakeWorker();
  const served = new Served(worker, clock);
  let app: TestApp;
  let other: GraphqlClient;
  beforeAll(async () => {
    app = await createTestApp({ workers: worker, clock });
    other = await app.addMember("MEMBER", { credits: 1_000_000_000n });
  });
  afterAll(() => app.stop());

  /** Runs while everything else is queued. */
  const blocker = async () => {
    await app.member.create({ prompt: "blocker" });
    return worker.nextCall();
  };

  test("go to tenants one by one, however much one of them has queued before the other", async () => {
    const first = await blocker();
    await queue(app.member, "flood", 6);
    await queue(other, "light", 2);
    await served.end(first);
    expect([...(await served.next(4))].sort()).toEqual(["flood", "flood", "light", "light"]);
    expect(await served.next(4)).toEqual(["flood", "flood", "flood", "flood"]);
  });

  test("go to the members of a tenant one by one, too", async () => {
    const colleague = await app.addMember("MEMBER");
    const first = await blocker();
    await queue(app.member, "flood", 4);
    await queue(colleague, "colleague", 2);
    await served.end(first);
    expect([...(await served.next(4))].sort()).toEqual(["colleague", "colleague", "flood", "flood"]);
    expect(await served.next(2)).toEqual(["flood", "flood"]);
  });

  test("are charged by time: who has quick work has more turns", async () => {
    const first = await blocker();
    await queue(app.member, "slow", 2);
    await queue(other, "quick", 6);
    await served.end(first);
    const prompts: string[] = [];
    for (let i = 0; i < 8; i++) {
      const call = await worker.nextCall();
      if (call.prompt === "slow") clock.advance(400);
      prompts.push(await served.end(call));
    }
    const [begin, end] = [prompts.indexOf("slow"), prompts.lastIndexOf("slow")];
    expect(prompts.slice(begin + 1, end)).toEqual(["quick", "quick", "quick", "quick", "quick"]);
  });

  test("are given up by BATCH that runs, which goes on where it stood", async () => {
    await queue(other, "batch", 1, { priority: "BATCH" });
    const batch = await worker.nextCall();
    batch.started().step(1);
    await queue(app.member, "urgent", 1, { priority: "INTERACTIVE" });
    await batch.yieldRequested;
    batch.checkpoint(2).yielded();
    expect(await served.next(1)).toEqual(["urgent"]);
    const resumed = await worker.nextCall();
    expect([resumed.prompt, resumed.request.resumeFrom?.stepsDone]).toEqual(["batch", 2]);
    await served.end(resumed);
  });

  test("of BATCH come when nothing else waits", async () => {
    const first = await blocker();
    await queue(other, "batch", 2, { priority: "BATCH" });
    await queue(app.member, "standard", 3);
    await served.end(first);
    expect(await served.next(5)).toEqual(["standard", "standard", "standard", "batch", "batch"]);
  });
});

test("the time that a check takes for a picture is charged to nobody: its worker is free meanwhile", async () => {
  const clock = new FakeClock();
  const worker = new FakeWorker();
  const served = new Served(worker, clock);
  const checker = new CheckerService();
  let answer = (): void => {};
  const answered = new Promise<void>((resolve) => {
    answer = resolve;
  });
  checker.answer = (...question) => answered.then(() => allow(...question));
  const MODERATION_URL = await checker.start();
  const app = await createTestApp({ workers: worker, clock }, { MODERATION_URL, MODERATION_SECRET: "x".repeat(32) });
  await setChecks(app.owner, [{ name: "slow", kind: "HTTP", stages: ["IMAGE"] }]);
  const [other, third] = await Promise.all([1, 2].map(() => app.addMember("MEMBER", { credits: 1_000_000_000n })));
  const id = await app.member.create({ prompt: "checked" });
  await served.next(1); // 100 ms
  await until(() => expect(checker.questions).toHaveLength(1));
  clock.advance(10_000);
  answer();
  await app.member.finished(id);
  const dear = await other!.create({ prompt: "dear" });
  const call = await worker.nextCall();
  clock.advance(1000);
  await served.end(call);
  await other!.finished(dear);

  await third!.create({ prompt: "blocker" });
  const blocker = await worker.nextCall();
  await queue(other!, "dear", 1);
  await queue(app.member, "checked", 1);
  await served.end(blocker);
  expect(await served.next(2)).toEqual(["checked", "dear"]);
  await app.stop();
  await checker.stop();
});

test("turns go on where they stood, with the durations that were learned, when another process leads", async () => {
  const clock = new FakeClock();
  const worker = new FakeWorker();
  const app = await createTestApp({ workers: worker, clock });
  const other = await app.addMember("MEMBER", { credits: 1_000_000_000n });
  const served = new Served(worker, clock);
  await other.create({ prompt: "other" });
  const first = await worker.nextCall();
  await queue(app.member, "long", 3);
  await queue(other, "other", 4);
  await served.end(first);
  const long = await worker.nextCall();
  clock.advance(60_000); // what runs meanwhile ends by the clock of the database, after a second or so
  expect(await served.end(long)).toBe("long");
  const running = await worker.nextCall();
  void running.started().yieldRequested.then(() => running.checkpoint(1).yielded());
  await app.stop({ keepData: true });

  const next = new FakeWorker();
  const again = await createTestApp({ workers: next, clock }, { DATA_DIR: app.dataDir });
  expect(await new Served(next, clock).next(3)).toEqual(["other", "other", "other"]);
  const resumed = await again.db.transaction(asPlatform, (tx) => tx.attempt.findMany({ where: { number: 2 } }));
  expect(resumed.map(({ predictedMs }) => Math.round(predictedMs ?? 0))).toEqual([100]); // of 100 ms and a minute
  await again.stop();
});

test("who idled, and queues just when another process leads, is not favoured, as had been foretold", async () => {
  const clock = new FakeClock();
  const worker = new FakeWorker();
  const app = await createTestApp({ workers: worker, clock });
  const other = await app.addMember("MEMBER", { credits: 1_000_000_000n });
  const turnMs = 20_000; // what runs meanwhile ends by the clock of the database, after a second or so
  const served = new Served(worker, clock, turnMs);
  await queue(other, "idle", 1);
  await served.next(1);
  await queue(app.member, "busy", 8);
  await served.next(8);
  await queue(app.member, "busy", 6);
  const running = await worker.nextCall();
  void running.started().yieldRequested.then(() => running.checkpoint(1).yielded());
  await queue(other, "idle", 5);
  await app.stop({ keepData: true });

  const next = new FakeWorker();
  const again = await createTestApp({ workers: next, clock }, { DATA_DIR: app.dataDir });
  const first = await next.nextCall();
  const owners = [again.member, new GraphqlClient(again.credentials.url, other.apiKey)];
  const places = "{ generations(first: 50) { nodes { textToImage { prompt } queuePosition { startsBefore } } } }";
  const found: any[] = await Promise.all(owners.map((client) => client.query(places)));
  const queued = found.flatMap(({ generations }) => generations.nodes).filter(({ queuePosition }) => queuePosition);
  queued.sort((a, b) => a.queuePosition.startsBefore - b.queuePosition.startsBefore);
  const order = [await new Served(next, clock, turnMs).end(first), ...(await new Served(next, clock, turnMs).next(10))];
  expect(order.slice(1)).toEqual(queued.map(({ textToImage }) => textToImage.prompt));
  expect(order.slice(0, 8).filter((prompt) => prompt === "idle")).toHaveLength(4);
  await again.stop();
});
