/**
 * What does it cost to take work for free slots, with more of it in the queue and of more tenants; and how many a second is
 * that, beside other queues on the same server?
 *
 *     npm run build && node --enable-source-maps dist/bench/claim.js [rounds] [most queued]
 *
 * A private PostgreSQL with its own defaults: every commit is flushed to disk. Each queue is filled; then, in turns, 1, 8 and
 * 64 are taken at once and put back untimed, behind all others, as many as were asked for or the bench fails; ours beside each of the others. Ours: turns, tags, limits of what
 * runs and waits of every tenant and member, attempts and milestones, as the dispatcher writes them. graphile-worker: the
 * query of its runner, for a whole batch and for one job at a time on as many connections as we have. pg-boss: `fetch`.
 * Writes bench/results/claim.json.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { loadavg } from "node:os";
import { startPostgres } from "../test/support/postgres-server.ts";
import { QUEUES } from "./filled-queue.ts";
import { openGraphileWorker, openPgBoss, type Queue } from "./other-queues.ts";
import { openOwnQueue } from "./own-queue.ts";

const [roundCount = "100", mostQueued = "1000000"] = process.argv.slice(2);
const SLOTS = [1, 8, 64];
/** Beside which the others are measured. */
const OTHERS_AT = 1000;

const server = await startPostgres();
const rows: Record<string, string | number>[] = [];
try {
  for (const [queued, tenants] of QUEUES) {
    if (queued > Number(mostQueued)) continue;
    const own = await openOwnQueue(await server.createDatabase(), queued, tenants);
    const companies: (readonly Queue[])[] = [];
    if (tenants !== OTHERS_AT) companies.push([]);
    else {
      companies.push(await openGraphileWorker(await server.createDatabase(), queued));
      companies.push([await openPgBoss(await server.createDatabase(), queued)]); // by itself: it can keep the server busy for seconds
    }
    for (const others of companies)
      for (const slots of SLOTS) await measure([own, ...others], { slots, queued, tenants });
    for (const queue of [own, ...companies.flat()]) await queue.close();
  }
} finally {
  server.stop();
}
mkdirSync("bench/results", { recursive: true });
writeFileSync("bench/results/claim.json", JSON.stringify(rows, undefined, 2));

async function measure(
  queues: readonly Queue[],
  { slots, queued, tenants }: { slots: number; queued: number; tenants: number },
): Promise<void> {
  const times = new Map<Queue, number[]>(queues.map((queue) => [queue, []]));
  const between = new Map<Queue, number[]>(queues.map((queue) => [queue, []]));
  const warmUp = 10;
  for (let round = -warmUp; round < Number(roundCount); round++) {
    for (const queue of queues) {
      const begun = performance.now();
      const taken = await queue.take(slots);
      const ms = performance.now() - begun;
      if (taken !== slots) throw new Error(`${queue.name} took ${taken} of ${slots}`);
      if (round >= 0) times.get(queue)?.push(ms);
      await queue.putBack();
      const puttingBackEnded = performance.now();
      await queue.prepare?.();
      if (round >= 0) between.get(queue)?.push(performance.now() - puttingBackEnded);
    }
  }
  const batch = rows.length;
  for (const [queue, all] of times) {
    const at = (share: number): number => Number(quantile(all, share).toFixed(1));
    const perSecond = Math.round((slots * 1000) / quantile(all, 0.5));
    const load = Number(loadavg()[0]?.toFixed(1));
    rows.push({
      queue: queue.name,
      queued,
      tenants,
      slots,
      "p50 ms": at(0.5),
      "p99 ms": at(0.99),
      "between p50": Number(quantile(between.get(queue) ?? [], 0.5).toFixed(1)),
      "a second": perSecond,
      load,
    });
  }
  console.table(rows.slice(batch));
}

function quantile(values: readonly number[], share: number): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length * share)] ?? 0;
}
