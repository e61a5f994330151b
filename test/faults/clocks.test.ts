import { randomBytes } from "node:crypto";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, inject, onTestFinished, test } from "vitest";
import { newSecret } from "../../src/auth/api-key.ts";
import { asPlatform } from "../../src/platform/access.ts";
import type { Clock } from "../../src/platform/clock.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import { GraphqlClient } from "../support/graphql-client.ts";
import { hasPostgres, startPostgres } from "../support/postgres-server.ts";
import { ServerProcess, temporaryFolder } from "../support/server-process.ts";
import { slowTest } from "../support/slow-test.ts";
import { startTcpWorker } from "../support/tcp-worker.ts";
import { createTestApp } from "../support/test-app.ts";
import { until } from "../support/until.ts";

const HOUR_MS = 3600_000;
const FAKETIME = findFaketime();

/** Somebody sets the time of day; seconds go on as before. */
class SetClock implements Clock {
  aheadMs = 0;

  now(): Date {
    return new Date(Date.now() + this.aheadMs);
  }

  elapsedMs(): number {
    return performance.now();
  }
}

test("a clock that is set an hour forward, then two back, ends nothing that runs, and holds up nothing that comes", async () => {
  const worker = new FakeWorker();
  const clock = new SetClock();
  const app = await createTestApp({ workers: worker, clock });
  onTestFinished(() => app.stop());
  const leaseEnds = async (): Promise<number[]> => {
    const rows = await app.db.transaction(asPlatform, (tx) => tx.generation.findMany({ where: { state: "RUNNING" } }));
    return rows.map(({ leaseExpiresAt }) => leaseExpiresAt?.getTime() ?? 0);
  };
  const untilExtended = async (): Promise<void> => {
    const before = await leaseEnds();
    await expect.poll(leaseEnds).not.toEqual(before);
  };
  const id = await app.member.create({ prompt: "drawn while the clock is set" });
  const call = (await worker.nextCall()).started().step(1);
  await untilExtended();
  clock.aheadMs = HOUR_MS;
  await untilExtended();
  clock.aheadMs = -HOUR_MS;
  await call.step(2).succeed();
  expect((await app.member.finished(id)).state).toBe("SUCCEEDED");
  const next = await app.member.create({ prompt: "drawn an hour ago" });
  await (await worker.nextCall()).started().succeed();
  expect((await app.member.finished(next)).state).toBe("SUCCEEDED");
  for (const each of [id, next])
    expect((await app.member.generation(each)).attempts).toMatchObject([{ outcome: "SUCCEEDED" }]);
  expect(worker.stuck).toEqual([]);
});

if (FAKETIME === undefined) test.skip("servers whose clocks differ: there is no libfaketime on this machine", () => {});

describe.skipIf(FAKETIME === undefined || !hasPostgres)(
  "servers whose clocks are an hour off (needs libfaketime)",
  () => {
    slowTest(
      "go by the database's: links, deadlines, leases and forecasts are right everywhere, also when a clock is set",
      async () => {
        const folder = temporaryFolder();
        const clockFile = join(folder.path, "clock");
        const postgres = await startPostgres({ fsync: "off" });
        const worker = await startTcpWorker({ modelFolder: join(inject("templateData"), "models/tiny") });
        const key = newSecret();
        const shared = {
          DATABASE_URL: await postgres.createDatabase(),
          POOL_WORKERS: worker.target,
          BOOTSTRAP_ADMIN_KEY: key,
          URL_SIGNING_SECRET: randomBytes(32).toString("hex"),
        };
        const off = { LD_PRELOAD: FAKETIME, FAKETIME_DONT_FAKE_MONOTONIC: "1", DONT_FAKE_MONOTONIC: "1" };
        writeFileSync(clockFile, "+3600\n");
        const start = (environment: NodeJS.ProcessEnv) =>
          ServerProcess.start(folder.path, { ...shared, ...environment });
        const late = await start({ ...off, ROLE: "api", FAKETIME: "-3600" });
        const exact = await start({ ROLE: "api" });
        const dispatcher = await start({
          ...off,
          ROLE: "dispatcher",
          FAKETIME_TIMESTAMP_FILE: clockFile,
          FAKETIME_NO_CACHE: "1",
        });
        onTestFinished(async () => {
          for (const server of [late, exact, dispatcher]) await server.end("SIGKILL");
          await worker.stop();
          postgres.stop();
          folder.remove();
        });
        const clientOf = (api: ServerProcess) => new GraphqlClient(/ready at (\S+)/.exec(api.log)![1]!, key);
        const [one, two] = [clientOf(late), clientOf(exact)];
        for (const server of [late, dispatcher])
          expect(server.logged("the time of day was put right: the database's counts")).toHaveLength(1);
        expect(Date.parse(late.logged("listening")[0].time)).toBeLessThan(Date.now() - HOUR_MS / 2);
        await until(async () => expect((await one.query("{ presets { name } }")).presets).toHaveLength(1));

        const id = await one.create({ prompt: "a red circle", steps: 2 }, { deadlineMs: 60_000 });
        expect((await two.finished(id)).state).toBe("SUCCEEDED");
        for (const [from, to] of [
          [one, two],
          [two, one],
        ] as const) {
          const { generation } = await from.query(LINKS, { id });
          const { pathname, search } = new URL(generation.images[0].url);
          expect((await fetch(new URL(pathname + search, to.url))).status).toBe(200);
        }
        for (const client of [one, two]) {
          const { estimate } = await client.query(ESTIMATE);
          expect(Math.abs(Date.parse(estimate.estimatedFinishAt) - Date.now())).toBeLessThan(60_000);
        }

        const running = await one.create({ prompt: "drawn while the clock is set", count: 4, steps: 36 });
        for await (const { __typename } of two.events(running)) if (__typename === "StartedEvent") break;
        writeFileSync(clockFile, "-3600\n");
        expect((await two.finished(running)).state).toBe("SUCCEEDED");
        expect((await two.generation(running)).attempts).toMatchObject([{ outcome: "SUCCEEDED" }]);
        const { workers } = await two.query("{ workers { state faults } }");
        expect(workers).toEqual([{ state: "READY", faults: 0 }]);
      },
      120_000,
    );
  },
);

const LINKS = "query($id: ID!) { generation(id: $id) { images { url(expiresInSeconds: 60) } } }";
const ESTIMATE = `{ estimate(input: { task: { textToImage: { prompt: "a red circle" } } }) { estimatedFinishAt } }`;

function findFaketime(): string | undefined {
  const file = "faketime/libfaketimeMT.so.1";
  return readdirSync("/usr/lib")
    .map((folder) => join("/usr/lib", folder, file))
    .find((path) => existsSync(path));
}
