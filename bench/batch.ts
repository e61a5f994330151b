/**
 * Does a batch of 50,000 items hold up others? The embedded server has its database in the process that answers requests.
 *
 *     node --enable-source-maps dist/bench/batch.js [items]
 *
 * Starts a server, and asks it for the caller's role twenty times a second while a batch is created from an uploaded file,
 * read and canceled, while a file with a mistake in its last line is refused, while a batch is refused for want of credits,
 * and while a finished batch is read. Prints how long each act took, in time and in the server's CPU time (which includes
 * that for the askers), and what the askers waited. Writes bench/results/batch.json.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { asPlatform } from "../src/platform/access.ts";
import { Database } from "../src/platform/database.ts";
import { openEmbeddedDatabase } from "../src/platform/database-embedded.ts";
import { lockFolder } from "../src/platform/folder-lock.ts";

const TOTAL = Number(process.argv[2] ?? 50_000);
const PAUSE_MS = 50;
/** Of Linux, in /proc. */
const TICKS_PER_SECOND = 100;
const ROOT = join(import.meta.dirname, "../..");
const LINES = Array.from({ length: TOTAL }, (_, i) => JSON.stringify({ prompt: `a red circle above ${i} blue stars` }));

interface Row {
  readonly act: string;
  readonly seconds: number;
  readonly "server's CPU seconds": number;
  readonly "others' median ms": number;
  readonly "others' longest ms": number;
}

const rows: Row[] = [];
const dataDir = mkdtempSync(join(tmpdir(), "atelier-bench-"));
let server = await start();
try {
  await measure("nothing", () => setTimeout(3000));
  const uploadId = await upload(LINES);
  const id = await measure("create from a file", () => create(uploadId));
  await measure("counts and credits of the batch", () => read(id));
  await measure("results file", () => readResults(id));
  await measure("cancel", () => request("mutation($id: ID!) { cancelBatch(id: $id) { batch { id } } }", { id }));
  const wrong = await upload([...LINES.slice(1), '{"prompt": 1}']);
  await measure("refuse a mistake in the last line", () => create(wrong, "prompt: String cannot represent"));
  const other = await create(await upload(LINES));
  await stop(server);
  await prepareDatabase(other);
  server = await start();
  const poor = await upload(LINES);
  await measure("refuse for want of credits", () => create(poor, "credits"));
  await measure("counts and credits of a finished batch", () => read(other));
  await measure("results file of a finished batch", () => readResults(other));
  console.table(rows);
  mkdirSync(join(ROOT, "bench/results"), { recursive: true });
  writeFileSync(join(ROOT, "bench/results/batch.json"), `${JSON.stringify({ items: TOTAL, rows }, undefined, 2)}\n`);
} finally {
  await stop(server);
  rmSync(dataDir, { recursive: true });
}

/** Times an act, and others meanwhile. */
async function measure<T>(act: string, run: () => Promise<T>): Promise<T> {
  const waits: number[] = [];
  let isOver = false;
  const asking = (async () => {
    do {
      const asked = performance.now();
      await request("{ viewer { role } }", {});
      waits.push(performance.now() - asked);
      await setTimeout(PAUSE_MS);
    } while (!isOver);
  })();
  const spent = cpuSeconds();
  const begun = performance.now();
  const result = await run();
  const seconds = (performance.now() - begun) / 1000;
  const cpu = cpuSeconds() - spent;
  isOver = true;
  await asking;
  const sorted = waits.sort((a, b) => a - b);
  rows.push({
    act,
    seconds: Number(seconds.toFixed(2)),
    "server's CPU seconds": Number(cpu.toFixed(2)),
    "others' median ms": Math.round(sorted[sorted.length >> 1] ?? 0),
    "others' longest ms": Math.round(sorted.at(-1) ?? 0),
  });
  return result;
}

/** Of all threads of the server. */
function cpuSeconds(): number {
  const stat = readFileSync(`/proc/${server.pid}/stat`, "utf8");
  const [user = 0, system = 0] = stat
    .slice(stat.lastIndexOf(")") + 2)
    .split(" ")
    .slice(11, 13)
    .map(Number);
  return (user + system) / TICKS_PER_SECOND;
}

/** @param refusal expected in its place. @returns the id */
async function create(sourceUploadId: string, refusal?: string): Promise<string> {
  const defaults = { width: 32, height: 32, steps: 1, seed: "1" };
  const input = { idempotencyKey: String(Math.random()), sourceUploadId, defaults };
  const { createBatch } = (await request(
    "mutation($input: CreateBatchInput!) { createBatch(input: $input) { batch { id } userErrors { message } } }",
    { input },
  )) as { createBatch: { batch: { id: string } | null; userErrors: { message: string }[] } };
  const message = createBatch.userErrors[0]?.message;
  if (refusal === undefined ? createBatch.batch === null : !message?.includes(refusal))
    throw new Error(`not as expected: ${message}`);
  return createBatch.batch?.id ?? "";
}

async function upload(lines: readonly string[]): Promise<string> {
  const file = lines.join("\n");
  const { createUpload } = (await request(
    "mutation { createUpload(input: { purpose: BATCH }) { target { uploadId url } } }",
    {},
  )) as { createUpload: { target: { uploadId: string; url: string } } };
  const { uploadId: id, url } = createUpload.target;
  await fetch(url, { method: "PUT", body: file });
  const sha256 = createHash("sha256").update(file).digest("hex");
  await request("mutation($id: ID!, $sha256: String!) { finishUpload(id: $id, sha256: $sha256) { upload { id } } }", {
    id,
    sha256,
  });
  return id;
}

async function read(id: string): Promise<string> {
  const { batch } = (await request(
    "query($id: ID!) { batch(id: $id) { resultsUrl counts { waiting queued succeeded } credits { reserved charged held } } }",
    { id },
  )) as { batch: { resultsUrl: string } };
  return batch.resultsUrl;
}

async function readResults(id: string): Promise<void> {
  const text = await (await fetch(await read(id))).text();
  if (text.split("\n").length !== TOTAL + 1) throw new Error("the results are not whole");
}

/** Finishes the batch without drawing it, and leaves no credits. */
async function prepareDatabase(globalId: string): Promise<void> {
  const db = await Database.open(await openEmbeddedDatabase(lockFolder(dataDir)), join(ROOT, "prisma/migrations"));
  await db.transaction(asPlatform, async (tx) => {
    const { id, nextIndex } = await tx.batch.findFirstOrThrow({ where: { finishedAt: null } });
    console.log(`${globalId}: ${TOTAL - nextIndex} items are finished without being drawn`);
    await tx.$executeRaw`
      with made as (
        insert into generation (id, tenant_id, user_id, api_key_id, pool, preset, task, priority, state, settings, total_steps, attempt, milestone_seq, batch_id, batch_index)
        select gen_random_uuid(), b.tenant_id, b.user_id, b.api_key_id, b.pool, b.preset, 'TEXT_TO_IMAGE', 'BATCH', 'SUCCEEDED',
          b.settings || i.settings, 1, 1, 3, b.id, i.index
        from batch b join batch_item i on i.batch_id = b.id where b.id = ${id}::uuid and i.index >= b.next_index
        returning id, tenant_id, batch_id
      ), pictured as (
        insert into image (id, tenant_id, generation_id, index, storage_key, width, height, mime_type, size_bytes, sha256)
        select gen_random_uuid(), tenant_id, id, 0, 'k', 32, 32, 'image/png', 1, 'x' from made
      )
      insert into reservation (id, tenant_id, generation_id, batch_id, credits, settled, ended_at)
      select gen_random_uuid(), tenant_id, id, batch_id, 1024, 1024, now() from made`;
    await tx.$executeRaw`update batch set next_index = total, succeeded = total, finished_at = now() where id = ${id}::uuid`;
    await tx.$executeRaw`update limits set max = used + held + 1`;
  });
  await db.close();
}

async function start(): Promise<ChildProcess> {
  const child = spawn(process.execPath, [join(ROOT, "dist/src/main.js")], {
    env: { ...process.env, PORT: "0", DATA_DIR: dataDir },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let output = "";
  while (!output.includes("is ready")) {
    output += await new Promise<string>((resolve) => child.stderr.once("data", (chunk) => resolve(String(chunk))));
  }
  child.stderr.resume();
  return child;
}

async function stop(child: ChildProcess): Promise<void> {
  child.kill("SIGTERM");
  if (child.exitCode === null) await new Promise((resolve) => child.once("close", resolve));
}

async function request(query: string, variables: object): Promise<unknown> {
  const { url, apiKey } = JSON.parse(readFileSync(join(dataDir, "credentials.json"), "utf8")) as Record<string, string>;
  const headers = { "content-type": "application/json", authorization: `Bearer ${apiKey}` };
  const response = await fetch(url ?? "", { method: "POST", headers, body: JSON.stringify({ query, variables }) });
  const { data, errors } = (await response.json()) as { data?: unknown; errors?: unknown };
  if (errors !== undefined) throw new Error(JSON.stringify(errors));
  return data;
}
