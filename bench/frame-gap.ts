/**
 * Does reading history hold up the frames of a running generation? The embedded server keeps its database in the process
 * that also delivers frames.
 *
 *     node --enable-source-maps dist/bench/frame-gap.js
 *
 * Starts a server with 2000 finished generations, watches a long generation undisturbed and then while all 2000 rows are
 * read, by twenty readers at once with a page of 100 each; prints the gaps between frames. Writes bench/results/frame-gap.json.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { asPlatform } from "../src/platform/access.ts";
import { Database } from "../src/platform/database.ts";
import { openEmbeddedDatabase } from "../src/platform/database-embedded.ts";
import { lockFolder } from "../src/platform/folder-lock.ts";
import { DRAWING } from "../test/support/drawing-settings.ts";
import { Server } from "./measuring/server.ts";

const ROWS = 2000;
const PAGE = 100;
const ROOT = join(import.meta.dirname, "../..");

const dataDir = mkdtempSync(join(tmpdir(), "atelier-bench-"));
await (await Server.start(dataDir)).stop();
await fillHistory();
const server = await Server.start(dataDir);
try {
  const undisturbed = await watch(async () => 0);
  const reading = await watch(readHistory);
  const rows = [
    { while: "undisturbed", ...undisturbed },
    { while: `${reading.rows} history rows were read`, ...reading },
  ];
  console.table(rows);
  mkdirSync(join(ROOT, "bench/results"), { recursive: true });
  writeFileSync(join(ROOT, "bench/results/frame-gap.json"), `${JSON.stringify(rows, undefined, 2)}\n`);
} finally {
  await server.stop();
  rmSync(dataDir, { recursive: true });
}

/** Copies of one finished generation, made in the database. */
async function fillHistory(): Promise<void> {
  const db = await Database.open(await openEmbeddedDatabase(lockFolder(dataDir)), join(ROOT, "prisma/migrations"));
  const settings = { ...DRAWING, prompt: "a red circle" };
  await db.transaction(asPlatform, async (tx) => {
    const { tenantId, userId } = await tx.membership.findFirstOrThrow({ where: { role: "MEMBER" } });
    await tx.$executeRaw`
      with made as (
        insert into generation (id, tenant_id, user_id, api_key_id, pool, preset, task, priority, state, settings, total_steps, attempt, milestone_seq)
        select gen_random_uuid(), ${tenantId}::uuid, ${userId}::uuid, ${userId}::uuid, 'local', 'tiny', 'TEXT_TO_IMAGE', 'STANDARD', 'SUCCEEDED',
          ${JSON.stringify(settings)}::jsonb, 18, 1, 3
        from generate_series(1, ${ROWS}::int) returning id
      ), tried as (
        insert into attempt (generation_id, tenant_id, number, lease_id, worker, outcome, steps_done)
        select id, ${tenantId}::uuid, 1, gen_random_uuid(), 'w', 'SUCCEEDED', 18 from made
      ), reserved as (
        insert into reservation (id, generation_id, tenant_id, user_id, credits, settled, ended_at, expires_at)
        select gen_random_uuid(), id, ${tenantId}::uuid, ${userId}::uuid, 0, 0, now(), now() from made
      )
      insert into image (id, tenant_id, generation_id, index, storage_key, width, height, mime_type, size_bytes, sha256)
      select gen_random_uuid(), ${tenantId}::uuid, id, 0, 'k', 96, 96, 'image/png', 1, 'x' from made`;
  });
  await db.close();
}

/** Gaps between the frames of a long generation while `meanwhile` goes on. */
async function watch(meanwhile: () => Promise<number>) {
  const id = await server.create({ prompt: "a red circle", count: 4, steps: 36 });
  const arrivals: number[] = [];
  let rows: Promise<number> | undefined;
  for await (const kind of server.events(id)) {
    if (kind !== "ProgressEvent") continue;
    arrivals.push(performance.now());
    rows ??= meanwhile();
  }
  const gaps = arrivals.slice(1).map((at, i) => at - (arrivals[i] ?? at));
  const sorted = [...gaps].sort((a, b) => a - b);
  const round = (value = 0): number => Math.round(value);
  return {
    rows: await rows,
    frames: arrivals.length,
    "median gap ms": round(sorted[sorted.length >> 1]),
    "longest gap ms": round(sorted.at(-1)),
  };
}

/** Twenty readers at once, a page each. */
async function readHistory(): Promise<number> {
  const fields =
    "nodes { id state textToImage { prompt seed } attempts { outcome } images { url sha256 } creditsCharged } pageInfo { endCursor hasNextPage }";
  let count = 0;
  const read = async (): Promise<void> => {
    const { generations } = await server.request<{ generations: { nodes: unknown[] } }>(
      `{ generations(first: ${PAGE}) { ${fields} } }`,
    );
    count += generations.nodes.length;
  };
  await Promise.all(Array.from({ length: ROWS / PAGE }, read));
  return count;
}
