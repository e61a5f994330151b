import { Registry } from "prom-client";
import { expect, test } from "vitest";
import { asPlatform } from "../../src/platform/access.ts";
import type { Database } from "../../src/platform/database.ts";
import { newId } from "../../src/platform/ids.ts";
import { createLogger } from "../../src/platform/logger.ts";
import { saveDurations } from "../../src/scheduler/duration.store.ts";
import { Durations } from "../../src/scheduler/durations.ts";
import { EtaScore } from "../../src/scheduler/eta-score.ts";
import { PoolForecasts } from "../../src/scheduler/pool-forecasts.ts";
import { insertTenant } from "../../src/tenancy/tenancy.store.ts";
import { DRAWING } from "../support/drawing-settings.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { createTestDatabase } from "../support/test-database.ts";

const SETTINGS = { ...DRAWING, prompt: "" };

/** Everything is expected to take ten seconds of one worker. */
async function setup() {
  const { db, close } = await createTestDatabase();
  const durations = new Durations();
  const task = { kind: "TEXT_TO_IMAGE", settings: SETTINGS } as const;
  durations.learn({ preset: "tiny", task, groupPictures: 1 }, 10_000);
  const tenantId = await db.transaction(asPlatform, async (tx) => {
    await tx.pool.create({ data: { name: "local", presets: [] } });
    await saveDurations(tx, { pool: "local", learned: durations.takeLearned(), max: 10 });
    return insertTenant(tx, "test");
  });
  const clock = new FakeClock();
  const workers = () => [{ name: "test", presets: ["tiny"], slots: 1 }];
  const forecasts = new PoolForecasts({ db, clock, workers, ageingMs: 600_000 });
  const registry = new Registry();
  const score = new EtaScore({ db, forecasts, registry, logger: createLogger("silent") });
  const sumOf = async (of: "start" | "finish") => {
    const [, sum] =
      new RegExp(`atelier_eta_${of}_error_ratio_sum\\{pool="local"\\} (.*)`).exec(await registry.metrics()) ?? [];
    return sum === undefined ? undefined : Number(sum);
  };
  const userId = newId();
  const queue = () => db.transaction(asPlatform, (tx) => tx.generation.create({ data: row(tenantId, userId) }));
  return { db, close, clock, score, sumOf, queue };
}

const row = (tenantId: string, userId: string) => ({
  ...{ id: newId(), tenantId, userId, pool: "local", preset: "tiny", priority: "STANDARD" as const },
  ...{ task: "TEXT_TO_IMAGE" as const, settings: SETTINGS, totalSteps: 18 },
});

const end = (db: Database, id: string, { startedIn, finishedIn }: { startedIn: number; finishedIn: number }) =>
  db.transaction(
    asPlatform,
    (tx) => tx.$executeRaw`
      update generation set state = 'SUCCEEDED', started_at = now() + make_interval(secs => ${startedIn}),
        finished_at = now() + make_interval(secs => ${finishedIn})
      where id = ${id}::uuid`,
  );

test("estimates are compared with what came, as parts of the true time", async () => {
  const { db, close, score, sumOf, queue } = await setup();
  await queue();
  const { id } = await queue();
  expect(await score.runOnce()).toBe(1); // the first one starts at once, and is no matter
  await end(db, id, { startedIn: 20, finishedIn: 25 }); // foretold: in 10 and 20 s
  await score.runOnce();
  expect(await sumOf("start")).toBeCloseTo(0.5, 1);
  expect(await sumOf("finish")).toBeCloseTo(0.2, 1);
  await close();
});

test("what is canceled before it starts is not scored, and forgotten", async () => {
  const { db, close, clock, score, sumOf, queue } = await setup();
  await queue();
  const { id } = await queue();
  expect(await score.runOnce()).toBe(1);
  await db.transaction(asPlatform, (tx) => tx.generation.deleteMany({ where: { id } }));
  clock.advance(1001);
  expect(await score.runOnce()).toBe(0);
  expect(await sumOf("start")).toBeUndefined();
  await close();
});
