import { expect, onTestFinished, test } from "vitest";
import { CuttingProxy } from "../support/cutting-proxy.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import { GraphqlClient } from "../support/graphql-client.ts";
import { Told } from "../support/metrics.ts";
import { createTestApp, type TestApp } from "../support/test-app.ts";
import { until } from "../support/until.ts";

const SUBSCRIBERS = 8;
const STEPS = 4;
const MILESTONES = ["QueuedEvent 1", "StartedEvent 2", "FinishedEvent 3"];

/** Follows a generation as clients do: after each break it goes on behind the newest event that it has. @returns its milestones */
async function follow(client: GraphqlClient, id: string): Promise<string[]> {
  const milestones: string[] = [];
  let afterSeq = 0;
  for (;;) {
    try {
      for await (const { __typename, seq } of client.events(id, afterSeq)) {
        afterSeq = seq;
        if (!/Progress|Preview/.test(__typename)) milestones.push(`${__typename} ${seq}`);
        if (__typename === "FinishedEvent") return milestones;
      }
    } catch (error) {
      const { code = 1006, type } = error as { code?: number; type?: string }; // cut, and nothing that the server said
      expect([code, type]).toEqual([1006, expect.stringMatching(/^(close|error)$/)]);
    }
  }
}

const openOn = async (app: TestApp): Promise<Record<string, number | undefined>> => {
  const told = new Told(await (await fetch(new URL("/metrics", app.member.url))).text());
  return { sockets: told.value("atelier_sockets_open"), subscriptions: told.value("atelier_subscriptions_open") };
};

test("subscribers whose sockets are cut again and again get each milestone once, and leave nothing behind", async () => {
  const worker = new FakeWorker(4);
  const app = await createTestApp({ workers: worker });
  const proxy = await CuttingProxy.start(app.member.url, { cutEvery: 5 });
  onTestFinished(async () => {
    await proxy.stop();
    await app.stop();
  });
  const ids = await Promise.all(Array.from({ length: SUBSCRIBERS }, () => app.member.create({ prompt: "watched" })));
  const client = new GraphqlClient(proxy.by(app.member.url), app.member.apiKey);
  const following = ids.map((id) => follow(client, id));
  for (let i = 0; i < SUBSCRIBERS; i++) {
    const call = (await worker.nextCall()).started();
    for (let step = 1; step <= STEPS; step++) call.step(step);
    await call.succeed();
  }
  for (const milestones of await Promise.all(following)) expect(milestones).toEqual(MILESTONES);
  expect(proxy.cuts).toBeGreaterThan(SUBSCRIBERS / 5);
  await until(async () => expect(await openOn(app)).toEqual({ sockets: 0, subscriptions: 0 }));
});
