import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { BusMessage, PreviewFrame } from "../../src/progress/frame.ts";
import { RedisFrameBus } from "../../src/progress/redis-frame-bus.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import { connect, hasRedis, RedisServer } from "../support/redis-server.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";
import { until } from "../support/until.ts";

if (!hasRedis) test.skip("Redis that dies: there is none on this machine", () => {});

describe.runIf(hasRedis)("when Redis dies", () => {
  let redis: RedisServer;
  let worker: FakeWorker;
  let app: TestApp;

  beforeAll(async () => {
    redis = await RedisServer.start();
    await redis.kill(); // a server starts without, too
    worker = new FakeWorker();
    app = await createTestApp({ workers: worker }, { REDIS_URL: redis.url });
  });
  afterAll(async () => {
    await app.stop();
    await redis.stop();
  });

  const until = async (events: AsyncGenerator<any>, expected: object): Promise<any> => {
    for (;;) {
      const { value, done } = await events.next();
      if (done === true) throw new Error(`the events ended without ${JSON.stringify(expected)}`);
      if (Object.entries(expected).every(([name, wanted]) => value[name] === wanted)) return value;
    }
  };
  const limits = async (): Promise<any> =>
    (await app.member.query("{ viewer { rateLimit { limit remaining } } }")).viewer.rateLimit;

  test("generations go on, milestones are found by the poll, and frames resume when it is back, which need not know anything", async () => {
    const id = await app.member.create({ prompt: "watched" });
    const events = app.member.events(id);
    const call = await worker.nextCall();
    call.started();
    await until(events, { __typename: "StartedEvent" });
    await redis.restart();
    call.step(1);
    await until(events, { __typename: "PreviewEvent" });

    await redis.kill();
    call.step(2);
    const whileAway = await app.member.create({ prompt: "asked for while Redis was away" });
    const others = app.member.events(whileAway);
    expect(await until(others, { __typename: "QueuedEvent" })).toMatchObject({ seq: 1 });
    await redis.restart();
    expect(await until(events, { __typename: "ProgressEvent", step: 2 })).toMatchObject({ seq: 2, attempt: 1 });
    call.step(3);
    await until(events, { __typename: "ProgressEvent", step: 3 });

    await redis.kill();
    await call.succeed();
    expect(await until(events, { __typename: "FinishedEvent" })).toMatchObject({ seq: 3, state: "SUCCEEDED" });
    const next = await worker.nextCall();
    next.started();
    expect(await until(others, { __typename: "StartedEvent" })).toMatchObject({ seq: 2 });
    await redis.restart();
    next.step(1);
    await until(others, { __typename: "ProgressEvent", step: 1 });
    await next.succeed();
    expect(await until(others, { __typename: "FinishedEvent" })).toMatchObject({ seq: 3, state: "SUCCEEDED" });
  });

  test("a Redis that is frozen delays nothing for long, and what a caller may spend goes on", async () => {
    const { remaining } = await limits();
    redis.freeze();
    try {
      const id = await app.member.create({ prompt: "asked for while Redis was frozen" });
      const call = await worker.nextCall();
      const finished = app.member.finished(id);
      await call.started().step(1).succeed();
      expect((await finished).state).toBe("SUCCEEDED");
      expect(await limits()).toMatchObject({ limit: 20_000 });
      expect(remaining).toBeGreaterThan(19_000);
    } finally {
      redis.thaw();
    }
  });
});

describe.runIf(hasRedis)("a subscriber that does not keep up", () => {
  const GENERATIONS = Array.from({ length: 100 }, () => randomUUID());
  const BYTES = 24 * 1024;
  const frameOf = (generationId: string, frame: number): PreviewFrame => ({
    kind: "preview",
    generationId,
    seq: 2,
    attempt: 1,
    frame,
    at: 0,
    index: 0,
    width: 256,
    height: 256,
    webp: new Uint8Array(BYTES).fill(frame),
  });

  test("is cut off and comes back to the newest frames, while others hear everything in time and nobody's memory grows", async () => {
    const redis = await RedisServer.start("--client-output-buffer-limit", "pubsub 2mb 1mb 1");
    const open = async () => {
      const subscriber = await connect(redis.url, "subscriber");
      return { subscriber, bus: new RedisFrameBus({ publisher: await connect(redis.url), subscriber }) };
    };
    const [dispatcher, healthy, slow] = [await open(), await open(), await open()];
    try {
      const heard = new Map<string, number>();
      for (const id of GENERATIONS) {
        await slow.bus.subscribe(id, (message) => heard.set(id, frameNumber(message)));
      }
      let newest = 0;
      await healthy.bus.subscribe(GENERATIONS[99]!, (message) => {
        newest = frameNumber(message);
      });
      const stream = await slow.subscriber.ask(
        async (client) => (client as unknown as { stream: NodeJS.ReadStream }).stream,
      );
      stream.pause();
      const isBack = new Promise<void>((resolve) => slow.subscriber.onUp(resolve));
      const [memoryBefore, ownBefore] = [await redis.figure("used_memory"), process.memoryUsage().external];
      for (let round = 1; round <= 25; round++) {
        for (const id of GENERATIONS) dispatcher.bus.publish(frameOf(id, round));
        await until(() => expect(newest).toBe(round));
      }
      // 60 MB went through; what stays is a frame of each generation and a cut-off subscriber's buffer, at most.
      expect((await redis.figure("used_memory")) - memoryBefore).toBeLessThan(GENERATIONS.length * BYTES * 2 + 8e6);
      expect(process.memoryUsage().external - ownBefore).toBeLessThan(40e6);
      await isBack;
      await until(() => expect(GENERATIONS.map((id) => heard.get(id))).toEqual(GENERATIONS.map(() => 25)));
    } finally {
      for (const { bus } of [dispatcher, healthy, slow]) await bus.close();
      await redis.stop();
    }
  });
});

const frameNumber = (message: BusMessage): number => (message.kind === "milestone" ? 0 : message.frame);
