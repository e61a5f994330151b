/**
 * For how long does a worker compute nothing between two generations while others wait, with and without a standby?
 *
 *     node --enable-source-maps dist/bench/idle.js [rounds] [slots]
 *
 * Two servers with one worker of one thread each take turns: one sends what comes next ahead, the other's worker takes
 * nothing on standby. Every round asks for 12 generations at once. Gaps are measured on the computing thread, from the end
 * of the last graph run of a generation, or of a group, to the beginning of the first one of the next. Prints them over all
 * rounds after one that warms up, and how long drawing took meanwhile; writes bench/results/idle.json.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { GraphGap } from "./measuring/graph-gaps.ts";
import { Server } from "./measuring/server.ts";

const [rounds = "9", slots = "1"] = process.argv.slice(2);
const GENERATIONS = 12;
const PROMPTS = ["a red circle at the top left", "two stars", "an orange diamond above a pink heart", "a blue square"];

interface Arm {
  readonly name: string;
  readonly server: Server;
  readonly dataDir: string;
  readonly gaps: GraphGap[];
  readonly wallMs: number[];
}

const arms: Arm[] = [];
try {
  for (const [name, isWithout] of [
    ["with standby", "0"],
    ["without", "1"],
  ] as const) {
    const dataDir = mkdtempSync(join(tmpdir(), "atelier-bench-"));
    const server = await Server.start(dataDir, {
      WORKERS: "1",
      WORKER_THREADS: "1",
      WORKER_SLOTS: slots,
      GRAPH_GAPS: join(dataDir, "gaps"),
      WITHOUT_STANDBY: isWithout,
      NODE_OPTIONS: `--import ${new URL("./measuring/graph-gaps.js", import.meta.url).href}`,
    });
    arms.push({ name, server, dataDir, gaps: [], wallMs: [] });
  }
  for (let round = 0; round <= Number(rounds); round++)
    for (const arm of round % 2 === 0 ? arms : arms.toReversed()) await runRound(arm, round > 0);
} finally {
  for (const { server, dataDir } of arms) {
    await server.stop();
    rmSync(dataDir, { recursive: true });
  }
}

const rows = arms.map(({ name, gaps, wallMs }) => ({
  worker: name,
  gaps: gaps.length,
  "median ms": quantile(gaps, ({ gapMs }) => gapMs, 0.5),
  "p90 ms": quantile(gaps, ({ gapMs }) => gapMs, 0.9),
  "p99 ms": quantile(gaps, ({ gapMs }) => gapMs, 0.99),
  "drawing, median ms": quantile(gaps, ({ drawnMs }) => drawnMs, 0.5),
  "round, median s": quantile(wallMs, (ms) => ms / 1000, 0.5),
}));
console.table(rows);
mkdirSync(join(import.meta.dirname, "../../bench/results"), { recursive: true });
writeFileSync(
  join(import.meta.dirname, "../../bench/results/idle.json"),
  `${JSON.stringify({ rows, arms: arms.map(({ name, gaps, wallMs }) => ({ name, gaps, wallMs })) }, undefined, 2)}\n`,
);

async function runRound({ server, dataDir, gaps, wallMs }: Arm, counts: boolean): Promise<void> {
  const file = join(dataDir, "gaps");
  writeFileSync(file, "");
  const startedAt = performance.now();
  const ids = await Promise.all(
    Array.from({ length: GENERATIONS }, (_, i) =>
      server.create({ prompt: PROMPTS[i % PROMPTS.length], seed: String(i) }),
    ),
  );
  await Promise.all(ids.map((id) => ended(server, id)));
  if (!counts) return;
  wallMs.push(performance.now() - startedAt);
  const found = readFileSync(file, "utf8").trim().split("\n");
  // The first one is that between the rounds, when nothing waited.
  gaps.push(...found.slice(1).map((line) => JSON.parse(line) as GraphGap));
}

async function ended(server: Server, id: string): Promise<void> {
  for await (const _ of server.events(id));
}

function quantile<T>(values: readonly T[], of: (value: T) => number, part: number): number {
  const sorted = values.map(of).sort((a, b) => a - b);
  return Number((sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? 0).toFixed(2));
}
