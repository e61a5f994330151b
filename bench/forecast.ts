/**
 * What does it cost to foretell when generations start, with more of them in the queue and of more tenants?
 *
 *     npm run build && node --enable-source-maps dist/bench/forecast.js [rounds] [most queued]
 *
 * A private PostgreSQL with its own defaults, a pool of 16 workers with 4 slots each, known durations. In turns: a forecast of
 * the pool, which whoever asks within a second shares; what `queuePosition`, `estimatedStartAt` and `schedulingTrace` of the
 * first and of the last generation need beyond that; and `estimate` of one that would be asked for now. The first one must be told
 * one of the first turns, and the last one about as many before it as there are, or the bench fails.
 * Writes bench/results/forecast.json.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { loadavg } from "node:os";
import { asDispatcher, asPlatform, asTenant } from "../src/platform/access.ts";
import { systemClock } from "../src/platform/clock.ts";
import { Database } from "../src/platform/database.ts";
import { openPostgresDatabase } from "../src/platform/database-postgres.ts";
import { createLogger } from "../src/platform/logger.ts";
import { ReadSession } from "../src/platform/read-session.ts";
import { saveDurations } from "../src/scheduler/duration.store.ts";
import { Durations, MAX_KNOWN } from "../src/scheduler/durations.ts";
import { PoolForecasts } from "../src/scheduler/pool-forecasts.ts";
import { placeOf, reasonsOf, timesOf } from "../src/scheduler/schedule.ts";
import { Schedules } from "../src/scheduler/schedules.ts";
import { DRAWING } from "../test/support/drawing-settings.ts";
import { startPostgres } from "../test/support/postgres-server.ts";
import { fillQueue, QUEUES } from "./filled-queue.ts";

const [roundCount = "20", mostQueued = "1000000"] = process.argv.slice(2);
const POOL = "local";
const WORKERS = Array.from({ length: 16 }, (_, i) => ({ name: `worker-${i}`, presets: ["tiny"], slots: 4 }));
const TASK = { kind: "TEXT_TO_IMAGE", settings: { ...DRAWING, prompt: "a red circle" } } as const;
const MS = 500;
/** However long one takes, it is kept for the round. */
const CLOCK = { ...systemClock, elapsedMs: () => 0 };

const server = await startPostgres();
const rows: Record<string, string | number>[] = [];
try {
  for (const [queued, tenants] of QUEUES) if (queued <= Number(mostQueued)) rows.push(await measure(queued, tenants));
} finally {
  server.stop();
}
console.table(rows);
mkdirSync("bench/results", { recursive: true });
writeFileSync("bench/results/forecast.json", JSON.stringify(rows, undefined, 2));

async function measure(queued: number, tenants: number): Promise<Record<string, string | number>> {
  const url = await server.createDatabase();
  const engine = await openPostgresDatabase({ url, logger: createLogger("warn") });
  const db = await Database.open(engine, "prisma/migrations");
  await fillQueue(url, queued, tenants);
  await learn(db);
  const { first, last } = await readEnds(db);
  const times: Record<"forecast" | "first" | "last" | "estimate", number[]> = {
    forecast: [],
    first: [],
    last: [],
    estimate: [],
  };
  for (let round = -2; round < Number(roundCount); round++) {
    const forecasts = new PoolForecasts({ db, clock: CLOCK, workers: () => WORKERS, ageingMs: 600_000 });
    const schedules = new Schedules(db, forecasts);
    const timed = async <T>(name: keyof typeof times, work: () => Promise<T>): Promise<T> => {
      const begun = performance.now();
      const result = await work();
      if (round >= 0) times[name].push(performance.now() - begun);
      return result;
    };
    await timed("forecast", () => forecasts.of(POOL));
    const firstPlace = await timed("first", () => tell(db, schedules, first));
    const lastPlace = await timed("last", () => tell(db, schedules, last));
    await timed("estimate", () => schedules.expect(wantedOf(last)));
    if (firstPlace >= tenants) throw new Error(`the first one was told ${firstPlace} before it`);
    if (lastPlace < queued / 2 || lastPlace > queued * 2)
      throw new Error(`the last one was told ${lastPlace} of ${queued} before it`);
  }
  await db.close();
  const medians = Object.entries(times).map(([name, all]) => [`${name} ms`, Number(median(all).toFixed(1))]);
  return { queued, tenants, ...Object.fromEntries(medians), load: Number(loadavg()[0]?.toFixed(1)) };
}

interface End {
  readonly id: string;
  readonly tenantId: string;
}

async function readEnds(db: Database): Promise<{ first: End; last: End }> {
  const ends = await db.singly(asDispatcher).$queryRaw<End[]>`
    (select id, tenant_id as "tenantId" from generation order by created_at limit 1)
    union all (select id, tenant_id from generation order by created_at desc limit 1)`;
  const [first, last] = ends;
  if (first === undefined || last === undefined) throw new Error("nothing is queued");
  return { first, last };
}

/** All that its fields say. @returns how many start before it */
async function tell(db: Database, schedules: Schedules, { id, tenantId }: End): Promise<number> {
  const found = await schedules.find(new ReadSession(db, asTenant(tenantId)), { id });
  if (found === undefined) throw new Error("it is queued, and was not found");
  const { row, forecast } = found;
  const { startAt } = timesOf(row, forecast);
  if (startAt === undefined || (reasonsOf(row, forecast).length === 0 && placeOf(row, forecast)?.startsBefore !== 0))
    throw new Error("nothing was told of it");
  return placeOf(row, forecast)?.startsBefore ?? Number.NaN;
}

function wantedOf({ tenantId }: End) {
  const work = { pool: POOL, preset: "tiny", priority: "STANDARD", task: TASK } as const;
  return { ...work, tenantId, userId: tenantId, apiKeyId: null };
}

/** As if such work had run alone and in every company. */
async function learn(db: Database): Promise<void> {
  const durations = new Durations();
  for (const groupPictures of [1, 2, 3, 4]) durations.learn({ preset: "tiny", task: TASK, groupPictures }, MS);
  await db.transaction(asPlatform, (tx) =>
    saveDurations(tx, { pool: POOL, learned: durations.takeLearned(), max: MAX_KNOWN }),
  );
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}
