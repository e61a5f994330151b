/**
 * What does a claim cost, with more in the queue, and with limits of what runs in force?
 *
 *     npm run build && node --enable-source-maps dist/bench/claim.js [claims]
 *
 * A private PostgreSQL with a queue of 100 tenants. A claim decides whose turn it is, locks what limits count, starts one
 * generation and stores the tags, as the dispatcher does; then it is undone, so that each meets the same queue. Turns are taken between no limits,
 * limits of every tenant and member that have room, and limits that let only the last tenant run more. Writes
 * bench/results/claim.json.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { loadavg } from "node:os";
import pg from "pg";
import { claimAll } from "../src/generation/claim.store.ts";
import { asDispatcher, asPlatform } from "../src/platform/access.ts";
import { Database } from "../src/platform/database.ts";
import { openPostgresDatabase } from "../src/platform/database-postgres.ts";
import { newId } from "../src/platform/ids.ts";
import { createLogger } from "../src/platform/logger.ts";
import { PoolQueue } from "../src/scheduler/pool-queue.ts";
import { insertMember, insertTenant } from "../src/tenancy/tenancy.store.ts";
import { DRAWING } from "../test/support/drawing-settings.ts";
import { startPostgres } from "../test/support/postgres-server.ts";

const [claimCount = "200"] = process.argv.slice(2);
const TENANTS = 100;
const SIZES = [100, 10_000, 100_000];
const CLAIMANT = { holder: newId(), leaseSeconds: 10 };
const SETTINGS = { ...DRAWING, prompt: "a red circle" };

/** What is set before a round, by name. */
const LIMITS: Readonly<Record<string, { max: number; ofLast: number } | undefined>> = {
  "no limits": undefined,
  "with room": { max: 10, ofLast: 10 },
  "all but one reached": { max: 0, ofLast: 10 },
};

const server = await startPostgres();
const rows: Record<string, string | number>[] = [];
try {
  for (const size of SIZES) {
    const url = await server.createDatabase();
    const engine = await openPostgresDatabase({ url, logger: createLogger("warn") });
    const db = await Database.open(engine, "prisma/migrations");
    await fillQueue(db, size);
    await analyze(url);
    const queue = new PoolQueue({ pool: "local", ageingMs: 600_000 });
    const times = new Map<string, number[]>(Object.keys(LIMITS).map((name) => [name, []]));
    for (let round = 0; round < 5; round++) {
      for (const [name, limits] of Object.entries(LIMITS)) {
        await setLimits(db, limits);
        for (let i = 0; i < Number(claimCount) / 5; i++) times.get(name)?.push(await timeClaim(db, queue));
      }
    }
    for (const [name, all] of times) {
      all.sort((a, b) => a - b);
      const at = (share: number): number => Number((all[Math.floor(all.length * share)] ?? 0).toFixed(1));
      const load = Number(loadavg()[0]?.toFixed(1));
      rows.push({ queued: size, limits: name, "p10 ms": at(0.1), "p50 ms": at(0.5), "p90 ms": at(0.9), load });
    }
    await db.close();
  }
} finally {
  server.stop();
}
console.table(rows);
mkdirSync("bench/results", { recursive: true });
writeFileSync("bench/results/claim.json", JSON.stringify(rows, undefined, 2));

async function fillQueue(db: Database, size: number): Promise<void> {
  await db.transaction(asPlatform, async (tx) => {
    for (let i = 0; i < TENANTS; i++) {
      const tenantId = await insertTenant(tx, "bench");
      await insertMember(tx, { tenantId, role: "MEMBER", name: "bench", isPlatformAdmin: false });
    }
    // In turns: each tenant has as much as the others, all along the queue.
    await tx.$executeRaw`
      with of as (select tenant_id, user_id, row_number() over (order by tenant_id) - 1 as place from membership)
      insert into generation (id, tenant_id, user_id, pool, preset, priority, task, settings, total_steps, milestone_seq, created_at)
      select gen_random_uuid(), of.tenant_id, of.user_id, 'local', 'tiny', 'STANDARD', 'TEXT_TO_IMAGE', ${JSON.stringify(SETTINGS)}::jsonb, 18, 1,
        now() - interval '1 day' + n * interval '1 millisecond'
      from generate_series(0, ${size - 1}::int) as n join of on of.place = n % ${TENANTS}::int`;
  });
}

/** As autovacuum does within a minute: only the owner of the tables may. */
async function analyze(url: string): Promise<void> {
  const owner = new pg.Client({ connectionString: url });
  await owner.connect();
  await owner.query("analyze");
  await owner.end();
}

/** Of tenants and members; the last tenant of the queue is the one that may have room. */
async function setLimits(db: Database, limits: { max: number; ofLast: number } | undefined): Promise<void> {
  await db.transaction(asPlatform, async (tx) => {
    await tx.$executeRaw`delete from limits where kind = 'RUNNING'`;
    if (limits === undefined) return;
    await tx.$executeRaw`
      insert into limits (tenant_id, level, subject_id, kind, max)
      select tenant_id, level::limit_level, case level when 'TENANT' then tenant_id else user_id end, 'RUNNING',
        case when tenant_id = (select max(id::text)::uuid from tenant) then ${limits.ofLast}::bigint else ${limits.max}::bigint end
      from membership cross join unnest(array['TENANT', 'MEMBER']) as level`;
  });
}

/** Milliseconds. */
async function timeClaim(db: Database, queue: PoolQueue): Promise<number> {
  const undo = new Error("measured");
  const begun = performance.now();
  let ms = 0;
  const claiming = db.transaction(asDispatcher, async (tx) => {
    const [group] = await queue.choose(tx, [{ presets: ["tiny"], slots: [] }], new Date());
    const [turn] = group?.turns ?? [];
    if (turn === undefined) throw new Error("nobody may run");
    const { candidate } = turn;
    const claim = { generationId: candidate.id, payer: candidate, leaseId: newId(), worker: "bench" };
    const [outcome] = await claimAll(tx, CLAIMANT, [{ ...claim, predictedMs: 1000, share: 1 }]);
    if (typeof outcome !== "object") throw new Error("nothing was claimed");
    await queue.save(tx);
    ms = performance.now() - begun;
    throw undo;
  });
  await claiming.catch((error: unknown) => {
    if (error !== undo) throw error;
  });
  return ms;
}
