/**
 * What do frames and rate limits cost when they go through Redis? Needs /usr/bin/redis-server.
 *
 *     node --enable-source-maps dist/bench/redis.js [generations]
 *
 * Measures how long a frame of 12 KiB takes from one process's bus to another's, alone and beside the frames of many
 * generations (ten a second each), and how long it takes to spend cost, beside the buckets of one process. Everything shares
 * this machine's processors, Redis too. Prints a table and writes bench/results/redis.json.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import type { CostBuckets } from "../src/api/cost-buckets.ts";
import { InProcessCostBuckets } from "../src/api/in-process-cost-buckets.ts";
import { RedisCostBuckets } from "../src/api/redis-cost-buckets.ts";
import { systemClock } from "../src/platform/clock.ts";
import type { PreviewFrame } from "../src/progress/frame.ts";
import { RedisFrameBus } from "../src/progress/redis-frame-bus.ts";
import { connect, RedisServer } from "../test/support/redis-server.ts";

const FRAME_BYTES = 12 * 1024;
const ROUNDS = 50;
const ROUND_MS = 100;
const SPENDINGS = 3000;
const LIMIT = { limit: 1e9, restorePerSecond: 1000 };

const generations = Number(process.argv[2] ?? 200);
const server = await RedisServer.start();
try {
  const rows = [await frames(1), await frames(generations), ...(await costs())];
  console.table(rows);
  const results = join(import.meta.dirname, "../../bench/results");
  mkdirSync(results, { recursive: true });
  writeFileSync(join(results, "redis.json"), `${JSON.stringify(rows, undefined, 2)}\n`);
} finally {
  await server.stop();
}

async function frames(count: number) {
  const open = async () =>
    new RedisFrameBus({ publisher: await connect(server.url), subscriber: await connect(server.url) });
  const [dispatcher, api] = [await open(), await open()];
  const publishedAt = new Map<string, number>();
  const taken: number[] = [];
  for (let i = 0; i < count; i++) {
    const id = `${count} ${i}`;
    await api.subscribe(id, (message) => {
      if (message.kind === "preview") taken.push(performance.now() - (publishedAt.get(id + message.frame) ?? 0));
    });
  }
  for (let round = 1; round <= ROUNDS; round++) {
    for (let i = 0; i < count; i++) {
      const id = `${count} ${i}`;
      publishedAt.set(id + round, performance.now());
      dispatcher.publish(preview(id, round));
    }
    await pause(ROUND_MS);
  }
  await pause(1000); // for the last ones
  await Promise.all([dispatcher.close(), api.close()]);
  return { what: `frame, ${count} generations`, ...figures(taken), replaced: count * ROUNDS - taken.length };
}

async function costs() {
  const connection = await connect(server.url);
  const shared = new RedisCostBuckets({ connection, clock: systemClock, replicas: 1, ...LIMIT });
  const own = new InProcessCostBuckets({ clock: systemClock, ...LIMIT });
  const measure = async (what: string, buckets: CostBuckets) => {
    const taken: number[] = [];
    for (let i = 0; i < SPENDINGS; i++) {
      const startedAt = performance.now();
      await buckets.spend("caller", 20);
      taken.push(performance.now() - startedAt);
    }
    buckets.close();
    return { what, ...figures(taken) };
  };
  return [await measure("cost, in the process", own), await measure("cost, in Redis", shared)];
}

function preview(generationId: string, frame: number): PreviewFrame {
  const base = { generationId, seq: 2, attempt: 1, frame, at: 0 };
  return { kind: "preview", ...base, index: 0, width: 256, height: 256, webp: new Uint8Array(FRAME_BYTES) };
}

/** Milliseconds. */
function figures(taken: readonly number[]) {
  const sorted = [...taken].sort((a, b) => a - b);
  const at = (share: number) => Number((sorted[Math.floor(sorted.length * share)] ?? 0).toFixed(3));
  return { count: sorted.length, p50: at(0.5), p99: at(0.99) };
}
