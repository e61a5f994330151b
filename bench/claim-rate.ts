/**
 * How many are taken a second until a long queue is empty, beside graphile-worker's own runner on the same server?
 *
 *     npm run build && node --enable-source-maps dist/bench/claim-rate.js [rounds] [queued] [slots]
 *
 * A private PostgreSQL with its own defaults: every commit is flushed to disk. In turns: ours takes for so many free slots
 * again and again, of 1000 tenants, with all that `claim.ts` counts and what is read between claims, and never ends what it
 * took; graphile-worker takes, runs nothing, and deletes its rows, as its own benchmark has it (a local queue of 500, reports
 * in batches), and as it comes. Everything is put back or filled again untimed. Writes bench/results/claim-rate.json.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { loadavg } from "node:os";
import { startPostgres } from "../test/support/postgres-server.ts";
import { openRunners } from "./other-queues.ts";
import { openOwnQueue } from "./own-queue.ts";

const [rounds = "5", queuedText = "10000", slotsText = "64"] = process.argv.slice(2);
const queued = Number(queuedText);
const slots = Number(slotsText);
const TENANTS = 1000;

const server = await startPostgres();
const rates = new Map<string, number[]>();
try {
  const own = await openOwnQueue(await server.createDatabase(), queued, TENANTS);
  const [plain, batched, close] = await openRunners(await server.createDatabase(), slots);
  const drainOwn = async (): Promise<number> => {
    let ms = 0;
    for (let left = queued; left > 0; left -= slots) {
      const begun = performance.now();
      const wanted = Math.min(slots, left);
      const taken = await own.take(wanted);
      if (taken !== wanted) throw new Error(`atelier took ${taken} of ${wanted}`);
      own.end();
      await own.prepare();
      ms += performance.now() - begun;
    }
    await own.putBack();
    await own.prepare();
    return ms;
  };
  for (let round = -1; round < Number(rounds); round++)
    for (const [name, drain] of [
      ["atelier", drainOwn],
      [batched.name, () => batched.drain(queued)],
      [plain.name, () => plain.drain(queued)],
    ] as const) {
      const ms = await drain();
      if (round >= 0) rates.set(name, [...(rates.get(name) ?? []), (queued * 1000) / ms]);
    }
  await own.close();
  await close();
} finally {
  server.stop();
}
const load = Number(loadavg()[0]?.toFixed(1));
const rows = [...rates].map(([queue, all]) => {
  const sorted = all.toSorted((a, b) => a - b).map(Math.round);
  return {
    queue,
    queued,
    slots,
    "a second, median": sorted[sorted.length >> 1],
    least: sorted[0],
    most: sorted.at(-1),
    load,
  };
});
console.table(rows);
mkdirSync("bench/results", { recursive: true });
writeFileSync("bench/results/claim-rate.json", JSON.stringify(rows, undefined, 2));
