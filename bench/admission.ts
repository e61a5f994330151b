/**
 * How many generations does a PostgreSQL server take in, how fast, and is anything ever overspent?
 *
 *     npm run build && node --enable-source-maps dist/bench/admission.js [processes] [attempts] [rounds]
 *
 * Starts a private PostgreSQL with its own defaults (every commit is flushed to disk) and processes that call the service
 * behind `createGeneration`. In each round, once all processes are warm: at 200 a second over 200 tenants; then as fast as one tenant's rows let 16 callers.
 * At last `attempts` calls of one tenant whose credits are enough for a tenth of them. Writes bench/results/admission.json.
 */
import { type ChildProcess, fork } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { loadavg } from "node:os";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Principal } from "../src/auth/principal.ts";
import { GenerationService } from "../src/generation/generation.service.ts";
import { GenerationLifecycle } from "../src/generation/generation-lifecycle.ts";
import { Moderation } from "../src/moderation/moderation.ts";
import { asPlatform } from "../src/platform/access.ts";
import { systemClock } from "../src/platform/clock.ts";
import { Database } from "../src/platform/database.ts";
import { openPostgresDatabase } from "../src/platform/database-postgres.ts";
import { DomainError } from "../src/platform/errors.ts";
import { createLogger } from "../src/platform/logger.ts";
import { savePool } from "../src/pool/pool.store.ts";
import { PoolCatalog } from "../src/pool/pool-catalog.ts";
import { InProcessFrameBus } from "../src/progress/in-process-frame-bus.ts";
import { QuotaService } from "../src/quota/quota.service.ts";
import { listUnbalanced } from "../src/quota/quota-check.store.ts";
import { insertMember, insertTenant } from "../src/tenancy/tenancy.store.ts";
import { startPostgres } from "../test/support/postgres-server.ts";
import { principalFor } from "../test/support/principals.ts";
import { TINY_OFFER } from "../test/support/tiny-offer.ts";

const [processCount = "4", attemptCount = "100000", roundCount = "3"] = process.argv.slice(2);
/** Micro-credits of the picture that is asked for. */
const PRICE = 165_888n;
const TENANTS = 200;
const CALLERS = 16;
const SECONDS = 20;
/** Calls of a process before its times count: they connect, prepare and compile. */
const WARM_UP = 200;
/** Of them at a time: as many as a process has connections. */
const WARM_UP_CALLERS = 10;
const RATE = 200;

interface Order {
  readonly url: string;
  readonly principals: readonly Principal[];
  readonly calls: number;
  readonly callers: number;
  /** Between two calls of this process; undefined for as fast as it can. */
  readonly intervalMs?: number;
  /** After which no new call is begun. */
  readonly endsAfterMs?: number;
}

interface Report {
  readonly accepted: number;
  readonly refused: number;
  readonly failed: number;
  /** Milliseconds since 1970: when the first call began and the last one ended. */
  readonly begun: number;
  readonly ended: number;
  /** Milliseconds. */
  readonly latencies: readonly number[];
}

if (process.send === undefined) await measure();
else process.once("message", (order: Order) => void carryOut(order));

const say = (message: "warm" | Report): Promise<void> =>
  new Promise((resolve) => process.send?.(message, undefined, undefined, () => resolve()));

async function open(url: string): Promise<Database> {
  return Database.open(await openPostgresDatabase({ url, logger: createLogger("warn") }), "prisma/migrations");
}

async function carryOut({ url, principals, calls, callers, intervalMs, endsAfterMs = Infinity }: Order): Promise<void> {
  const db = await open(url);
  const quota = new QuotaService();
  const lifecycle = new GenerationLifecycle(db, quota, new InProcessFrameBus(systemClock));
  const service = new GenerationService({
    db,
    lifecycle,
    presets: new PoolCatalog(systemClock, new Map()),
    moderation: new Moderation({ db, clock: systemClock, checker: undefined }),
    outlooks: { outlook: async () => undefined },
    logger: createLogger("silent"),
  });
  const counts = { accepted: 0, refused: 0, failed: 0 };
  const latencies: number[] = [];
  const call = async (index: number, begun: number): Promise<void> => {
    const principal = principals[index % principals.length];
    if (principal === undefined) return;
    try {
      await service.create(principal, {
        idempotencyKey: randomUUID(),
        priority: "STANDARD",
        task: { textToImage: { prompt: "a red circle", count: 1, guidanceSchedule: "CONSTANT", speed: "EXACT" } },
      });
      counts.accepted++;
    } catch (error) {
      if (error instanceof DomainError && error.code === "QUOTA_EXHAUSTED") counts.refused++;
      else counts.failed++;
    }
    latencies.push(performance.now() - begun);
  };
  for (let index = 0; index < WARM_UP; index += WARM_UP_CALLERS)
    await Promise.all(Array.from({ length: WARM_UP_CALLERS }, (_, i) => call(index + i, performance.now())));
  latencies.length = 0;
  await say("warm");
  await once(process, "message"); // when all are: a process that starts takes a core from the others
  const start = performance.now();
  if (intervalMs === undefined) {
    let next = WARM_UP;
    const caller = async (): Promise<void> => {
      while (next < calls && performance.now() - start < endsAfterMs) await call(next++, performance.now());
    };
    await Promise.all(Array.from({ length: callers }, caller));
  } else {
    const pending: Promise<void>[] = [];
    // Late starts count as latency: a call is due at its time, whatever this process does then.
    for (let index = WARM_UP; index < calls + WARM_UP; index++) {
      const due = start + (index - WARM_UP) * intervalMs;
      if (due > performance.now()) await setTimeout(due - performance.now());
      pending.push(call(index, due));
    }
    await Promise.all(pending);
  }
  const [begun, ended] = [start, performance.now()].map((time) => performance.timeOrigin + time) as [number, number];
  await db.close();
  await say({ ...counts, begun, ended, latencies });
  process.exit(0);
}

async function run(count: number, order: Order): Promise<readonly Report[]> {
  const program = fileURLToPath(import.meta.url);
  const children = Array.from({ length: count }, () => {
    const child = fork(program, { execArgv: ["--enable-source-maps"] });
    child.send(order);
    return child;
  });
  await Promise.all(children.map(messageOf));
  const reports = Promise.all(children.map(messageOf));
  for (const child of children) child.send("start");
  return (await reports) as Report[];
}

function messageOf(child: ChildProcess): Promise<unknown> {
  return new Promise((resolve, reject) => {
    child.once("message", resolve);
    child.once("exit", (code) => reject(new Error(`a process ended with ${code} before it reported`)));
  });
}

async function measure(): Promise<void> {
  const server = await startPostgres();
  try {
    const url = await server.createDatabase();
    const db = await open(url);
    await db.transaction(asPlatform, (tx) => savePool(tx, "local", [TINY_OFFER]));
    const processes = Number(processCount);
    const attempts = Number(attemptCount);
    const addTenants = async (count: number, credits: bigint): Promise<readonly Principal[]> => {
      const tenants: Principal[] = [];
      while (tenants.length < count) tenants.push(await addTenant(db, credits));
      return tenants;
    };
    const common = { url, callers: Math.ceil(CALLERS / processes) };
    const rows: Record<string, string | number>[] = [];
    const note = (what: string, reports: readonly Report[]): void => {
      const begun = Math.min(...reports.map((report) => report.begun));
      const seconds = (Math.max(...reports.map(({ ended }) => ended)) - begun) / 1000;
      const all = reports.flatMap(({ latencies }) => latencies).sort((a, b) => a - b);
      const at = (share: number): number => Number((all[Math.floor(all.length * share)] ?? 0).toFixed(1));
      const sum = (key: "accepted" | "refused" | "failed"): number =>
        reports.reduce((total, each) => total + each[key], 0);
      const counts = { accepted: sum("accepted"), refused: sum("refused"), failed: sum("failed") };
      rows.push({
        what,
        ...counts,
        "per second": Math.round(all.length / seconds),
        "p50 ms": at(0.5),
        "p99 ms": at(0.99),
        // Of everything that runs on this machine, the bench included.
        "load of a minute": Number(loadavg()[0]?.toFixed(1)),
      });
      console.table(rows.slice(-1));
    };
    const plenty = 10n ** 15n;
    const spread = await addTenants(TENANTS, plenty);
    const share = RATE / processes;
    const rated = { principals: spread, calls: share * SECONDS, intervalMs: 1000 / share };
    const hot = await addTenants(1, plenty);
    const hurried = { principals: hot, calls: 1e9, endsAfterMs: SECONDS * 1000 };
    for (let round = 0; round < Number(roundCount); round++) {
      note(`${RATE}/s over ${TENANTS} tenants`, await run(processes, { ...common, ...rated }));
      note(`one hot tenant, ${CALLERS} callers`, await run(processes, { ...common, ...hurried }));
    }
    const enough = Math.floor(attempts / 10);
    const poor = await addTenants(1, PRICE * BigInt(enough));
    const reports = await run(processes, { ...common, principals: poor, calls: attempts / processes });
    note(`${attempts} attempts, credits for ${enough}`, reports);
    const unbalanced = await db.transaction(asPlatform, listUnbalanced);
    const [limit] = await db.transaction(asPlatform, (tx) =>
      tx.limit.findMany({ where: { tenantId: poor[0]?.tenantId ?? "" } }),
    );
    const overspent = limit === undefined ? "?" : String(limit.held > limit.max ? limit.held - limit.max : 0n);
    const accepted = reports.reduce((sum, report) => sum + report.accepted, 0);
    const sums = { overspent, accepted, held: String(limit?.held), unbalanced: unbalanced.length };
    console.table([sums]);
    mkdirSync("bench/results", { recursive: true });
    writeFileSync("bench/results/admission.json", JSON.stringify({ processes, rows, sums }, undefined, 2));
    await db.close();
  } finally {
    server.stop();
  }
}

function addTenant(db: Database, credits: bigint): Promise<Principal> {
  return db.transaction(asPlatform, async (tx) => {
    const tenantId = await insertTenant(tx, "bench");
    await new QuotaService().grant(tx, tenantId, { credits, reason: "bench" });
    const member = { tenantId, role: "MEMBER", name: "bench", isPlatformAdmin: false } as const;
    return principalFor({ tenantId, userId: await insertMember(tx, member) });
  });
}
