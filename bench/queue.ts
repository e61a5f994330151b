/**
 * What does a queue gain when what waits is drawn together, and what does it cost someone in a hurry?
 *
 *     node --enable-source-maps dist/bench/queue.js [rounds] [slots]
 *
 * Two servers with one worker of one thread each, WORKER_SLOTS=1 and the given one, take turns. Every round asks for the
 * same 16 generations at once and compares the pictures of both; then it asks for them again, and for an INTERACTIVE one
 * when six have ended. Prints medians over the rounds after one that warms up; writes bench/results/queue.json.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { Server } from "./measuring/server.ts";

const [rounds = "9", slots = "4"] = process.argv.slice(2);
const GENERATIONS = 16;
/** Of them, have ended when the INTERACTIVE one comes. */
const BEFORE_URGENT = 6;
/** Company changes the order of sums; a pixel near the border of two levels may go either way. */
const COMPANY_LEVELS = 1;
const PROMPTS = ["a red circle at the top left", "two stars", "an orange diamond above a pink heart", "a blue square"];

interface Round {
  readonly wallMs: number;
  readonly cpuMs: number;
  readonly groupSize: number;
  readonly urgentStartMs: number;
  readonly urgentMs: number;
}

interface Arm {
  readonly slots: string;
  readonly server: Server;
  readonly dataDir: string;
  readonly rounds: Round[];
}

const arms: Arm[] = [];
let worst = 0;
try {
  for (const each of ["1", slots]) {
    const dataDir = mkdtempSync(join(tmpdir(), "atelier-bench-"));
    const server = await Server.start(dataDir, { WORKERS: "1", WORKER_THREADS: "1", WORKER_SLOTS: each });
    arms.push({ slots: each, server, dataDir, rounds: [] });
  }
  for (let round = 0; round <= Number(rounds); round++) await runRound(round);
} finally {
  for (const { server, dataDir } of arms) {
    await server.stop();
    rmSync(dataDir, { recursive: true });
  }
}
if (worst > COMPANY_LEVELS) throw new Error(`pictures in company differ by ${worst} levels`);

const rows = arms.map((arm) => ({
  WORKER_SLOTS: arm.slots,
  "mean group size": medianOf(arm, ({ groupSize }) => groupSize, 1),
  "wall s": medianOf(arm, ({ wallMs }) => wallMs / 1000, 2),
  "CPU s": medianOf(arm, ({ cpuMs }) => cpuMs / 1000, 2),
  "wall, times one slot": medianOf(arm, ({ wallMs }, i) => wallMs / (arms[0]?.rounds[i]?.wallMs ?? 0), 3),
  "CPU, times one slot": medianOf(arm, ({ cpuMs }, i) => cpuMs / (arms[0]?.rounds[i]?.cpuMs ?? 0), 3),
  "urgent, ms to its start": medianOf(arm, ({ urgentStartMs }) => urgentStartMs, 0),
  "urgent, ms to its end": medianOf(arm, ({ urgentMs }) => urgentMs, 0),
}));
console.log(
  `${GENERATIONS} generations at once, median of ${rounds} rounds in turns; pictures differ by at most ${worst} levels`,
);
console.table(rows);
const results = join(import.meta.dirname, "../../bench/results");
mkdirSync(results, { recursive: true });
writeFileSync(join(results, "queue.json"), `${JSON.stringify({ rounds, worst, rows }, undefined, 2)}\n`);

/** Both arms, the one that begins in turns. */
async function runRound(round: number): Promise<void> {
  const pictures = new Map<Arm, readonly Uint8Array[]>();
  for (const arm of round % 2 === 0 ? arms : arms.toReversed()) {
    const { ids, ...cost } = await drain(arm.server);
    pictures.set(arm, await Promise.all(ids.map((id) => pixelsOf(arm.server, id))));
    const groupSize = await meanGroupSize(arm.server, ids);
    const urgent = await hurry(arm.server);
    if (round > 0) arm.rounds.push({ ...cost, ...urgent, groupSize });
  }
  const [alone = [], together = []] = arms.map((arm) => pictures.get(arm) ?? []);
  for (const [i, picture] of together.entries()) worst = Math.max(worst, difference(picture, alone[i]));
}

/** From the first request to the last end. */
async function drain(server: Server): Promise<{ ids: readonly string[]; wallMs: number; cpuMs: number }> {
  const startedAt = performance.now();
  const cpu = server.cpuMs();
  const ids = await requestAll(server);
  await Promise.all(ids.map((id) => ended(server, id)));
  return { ids, wallMs: performance.now() - startedAt, cpuMs: server.cpuMs() - cpu };
}

/** What someone waits who comes in the middle, for the beginning and for the picture. */
async function hurry(server: Server): Promise<{ urgentStartMs: number; urgentMs: number }> {
  const ids = await requestAll(server);
  let endedCount = 0;
  let meet: () => void = () => {};
  const middle = new Promise<void>((resolve) => {
    meet = resolve;
  });
  const all = ids.map((id) =>
    ended(server, id).then(() => {
      endedCount++;
      if (endedCount === BEFORE_URGENT) meet();
    }),
  );
  await middle;
  const askedAt = performance.now();
  const urgent = await server.create({ prompt: "a green star", seed: "1" }, { priority: "INTERACTIVE" });
  let urgentStartMs = 0;
  for await (const kind of server.events(urgent))
    if (kind === "StartedEvent") urgentStartMs = performance.now() - askedAt;
  const urgentMs = performance.now() - askedAt;
  await Promise.all(all);
  return { urgentStartMs, urgentMs };
}

function requestAll(server: Server): Promise<readonly string[]> {
  return Promise.all(
    Array.from({ length: GENERATIONS }, (_, i) =>
      server.create({ prompt: PROMPTS[i % PROMPTS.length], seed: String(i) }),
    ),
  );
}

async function ended(server: Server, id: string): Promise<void> {
  for await (const _ of server.events(id));
}

async function pixelsOf(server: Server, id: string): Promise<Uint8Array> {
  const { generation } = await server.request<{ generation: { state: string; images: { url: string }[] } }>(
    "query($id: ID!) { generation(id: $id) { state images { url } } }",
    { id },
  );
  const [image] = generation.images;
  if (image === undefined) throw new Error(`a generation ended as ${generation.state}`);
  return sharp(await (await fetch(image.url)).arrayBuffer())
    .raw()
    .toBuffer();
}

async function meanGroupSize(server: Server, ids: readonly string[]): Promise<number> {
  const sizes = ids.map(async (id) => {
    const { generation } = await server.request<{ generation: { recipe: { groupSize: number } } }>(
      "query($id: ID!) { generation(id: $id) { recipe { groupSize } } }",
      { id },
    );
    return generation.recipe.groupSize;
  });
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0) / ids.length;
}

/** Largest difference of two pictures, in levels of 0..255. */
function difference(a: Uint8Array, b: Uint8Array | undefined): number {
  return a.reduce((most, level, i) => Math.max(most, Math.abs(level - (b?.[i] ?? Number.NaN))), 0);
}

function medianOf({ rounds }: Arm, value: (round: Round, index: number) => number, digits: number): number {
  const sorted = rounds.map(value).sort((a, b) => a - b);
  return Number((sorted[Math.floor(sorted.length / 2)] ?? 0).toFixed(digits));
}
