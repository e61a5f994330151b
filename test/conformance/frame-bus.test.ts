import { afterAll, beforeAll, describe, test } from "vitest";
import { InProcessFrameBus } from "../../src/progress/in-process-frame-bus.ts";
import { RedisFrameBus } from "../../src/progress/redis-frame-bus.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { connect, hasRedis, RedisServer } from "../support/redis-server.ts";
import { frameBusConformance } from "./frame-bus.ts";

frameBusConformance("the in-process bus", async () => {
  const clock = new FakeClock();
  const bus = new InProcessFrameBus(clock);
  return { publisher: bus, watcher: bus, pass: async (ms) => clock.advance(ms), close: () => bus.close() };
});

describe.runIf(hasRedis)("Redis", () => {
  let server: RedisServer;
  let databases = 0;

  beforeAll(async () => {
    server = await RedisServer.start("--databases", "64");
  });
  afterAll(() => server.stop());

  frameBusConformance("the Redis bus", async () => {
    const url = `${server.url}/${databases++}`;
    const open = async () => new RedisFrameBus({ publisher: await connect(url), subscriber: await connect(url) });
    const [publisher, watcher] = [await open(), await open()];
    return {
      publisher,
      watcher,
      pass: (ms) => server.pass(url, ms),
      close: async () => void (await Promise.all([publisher.close(), watcher.close()])),
    };
  });
});

if (!hasRedis) test.skip("the Redis bus: there is no Redis on this machine", () => {});
