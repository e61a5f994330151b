/**
 * What does one more generation, socket, frame, process or picture cost? The figures behind docs/scaling.md.
 *
 *     npm run build && node --enable-source-maps dist/bench/unit-costs.js
 *
 * One API process, one dispatcher, PostgreSQL with its own defaults, Redis, all on this machine, and workers that compute
 * nothing but keep a pace: 18 steps with a preview of 6 KiB each. What the idle server uses in the same time is taken off.
 * Needs Linux and the programs of PostgreSQL and Redis; takes about two minutes. Writes bench/results/unit-costs.json.
 */
import { mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { loadavg } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import pg from "pg";
import sharp from "sharp";
import WebSocket from "ws";
import { type Pace, STEPS } from "./measuring/paced-worker.ts";
import { type Figures, Parts, SOCKETS_PER_KEY } from "./measuring/parts.ts";
import { residentBytesOf } from "./measuring/processes.ts";

const WORKERS = 16;
const GENERATIONS = 192;
const LARGE = 48;
const IDLE_MS = 8000;
/** Longer than PostgreSQL keeps what it counts to itself. */
const COUNTED_MS = 1500;
const QUERIES = 400;
const SOCKETS = 500;
const WATCHERS = 200;
const PREVIEW_BYTES = 6 * 1024;
const FRAME_MS = 200;

const CREATE =
  "mutation($input: CreateGenerationInput!) { createGeneration(input: $input) { generation { id state } userErrors { message } } }";
const GENERATION =
  "query($id: ID!) { generation(id: $id) { id state creditsCharged attempts { number outcome } images { id url } } }";
const PAGE =
  "{ generations(first: 20) { nodes { id state task createdAt images { id url } } pageInfo { endCursor } } }";
const EVENTS = `subscription($id: ID!) { generationEvents(id: $id) { __typename seq ... on ProgressEvent { step totalSteps fraction etaMs }
  ... on PreviewEvent { index width height dataBase64 } ... on FinishedEvent { state } } }`;

interface Unit {
  readonly unit: string;
  readonly figure: number;
  readonly of: string;
}

const pictures = new Map([
  [96, await grainyPicture(96)],
  [1024, await grainyPicture(1024)],
]);
const pace: Pace = { stepMs: 50, previewBytes: PREVIEW_BYTES, pictures };
const units: Unit[] = [];
/** The most that each process had. */
const connections = new Map<string, number>();
const note = (unit: string, figure: number, of: string): void => {
  units.push({ unit, figure: Number(figure.toPrecision(3)), of });
};

const parts = await Parts.start(pace, { workers: WORKERS, keys: 1 + Math.ceil(SOCKETS / SOCKETS_PER_KEY) });
try {
  const [key = "", ...others] = parts.keys;
  while ((await parts.ask<{ presets: unknown[] }>(key, "{ presets { name } }")).presets.length === 0) await pause(100);
  await drawAll(key, WORKERS); // plans, caches and connections are there
  const idle = await measureIdle();
  await measureLives(key, idle);
  await measureLarge(key, idle);
  await measureQueries(key, idle);
  await measureSockets(others);
  await measureFlushes();
} finally {
  await parts.stop();
}
console.table(units);
console.log(`load of the last minute: ${loadavg()[0]?.toFixed(1)}`);
const results = join(import.meta.dirname, "../../bench/results");
mkdirSync(results, { recursive: true });
writeFileSync(join(results, "unit-costs.json"), `${JSON.stringify({ load: loadavg(), units }, undefined, 2)}\n`);

/** Flat colours would be stored in no time and room: this has the noise of a photograph. */
function grainyPicture(side: number): Promise<Buffer> {
  const create = { width: side, height: side, channels: 3, background: "#808080" } as const;
  const grain = { type: "gaussian", mean: 128, sigma: 4 } as const;
  return sharp({ create: { ...create, noise: grain } })
    .png()
    .toBuffer();
}

/** What was used up between two moments, less what an idle server would have. */
function used(from: Figures, to: Figures, idle?: Readonly<Figures>): Figures {
  const entries = Object.keys(to).map((name) => {
    const field = name as keyof Figures;
    const share = idle === undefined ? 0 : (idle[field] / idle.atMs) * (to.atMs - from.atMs);
    return [field, to[field] - from[field] - (field === "atMs" ? 0 : share)];
  });
  return Object.fromEntries(entries) as unknown as Figures;
}

async function measureIdle(): Promise<Figures> {
  await pause(COUNTED_MS);
  const before = await parts.figures();
  await pause(IDLE_MS);
  const idle = used(before, await parts.figures());
  const seconds = idle.atMs / 1000;
  note("idle: commits", idle.commits / seconds, "a second, an API and a dispatcher together");
  note("idle: WAL", idle.walBytes / seconds, "bytes a second");
  note("idle: Redis", idle.redisCommands / seconds, "commands a second");
  note("idle: API", idle.apiCpuMs / seconds, "CPU ms a second");
  note("idle: dispatcher", idle.dispatcherCpuMs / seconds, `CPU ms a second, ${WORKERS} workers`);
  return idle;
}

interface Created {
  readonly createGeneration: { readonly generation: { readonly id: string } | null; readonly userErrors: unknown };
}

function createdId({ createGeneration: { generation, userErrors } }: Created): string {
  if (generation === null) throw new Error(JSON.stringify(userErrors));
  return generation.id;
}

/** Queues so many at once, and waits until all have ended. */
async function drawAll(key: string, count: number, { side = 96, steps = STEPS } = {}): Promise<readonly string[]> {
  const create = async (i: number): Promise<string> => {
    const textToImage = { prompt: `picture ${i} of a red circle at the top left`, width: side, height: side, steps };
    const input = { idempotencyKey: crypto.randomUUID(), task: { textToImage } };
    return createdId(await parts.ask<Created>(key, CREATE, { input }));
  };
  const ids = await Promise.all(Array.from({ length: count }, (_, i) => create(i)));
  await untilAllEnded();
  return ids;
}

async function untilAllEnded(): Promise<void> {
  for (;;) {
    const { rows } = await parts.admin.query(
      "select count(*)::int as left from generation where state in ('QUEUED', 'RUNNING')",
    );
    for (const [name, count] of Object.entries(await parts.connections()))
      connections.set(name, Math.max(count, connections.get(name) ?? 0));
    if (rows[0].left === 0) return;
    await pause(100);
  }
}

async function measureLives(key: string, idle: Figures): Promise<void> {
  await parts.admin.query("checkpoint");
  const before = await parts.figures();
  await drawAll(key, GENERATIONS);
  await pause(COUNTED_MS);
  const cost = used(before, await parts.figures(), idle);
  const each = (field: keyof Figures): number => cost[field] / GENERATIONS;
  note("generation: rows written anew", each("inserted"), "rows");
  note("generation: rows changed", each("updated"), "rows");
  note("generation: commits", each("commits"), "transactions, of them most that only read");
  note("generation: WAL", each("walBytes"), "bytes");
  note("generation: stays in the database", each("storedBytes"), "bytes, indexes included");
  note("generation: Redis", each("redisCommands"), `commands, with ${STEPS} steps; those inside its scripts count`);
  note("generation: API", each("apiCpuMs"), "CPU ms: one mutation, and what follows from it");
  note("generation: dispatcher", each("dispatcherCpuMs"), `CPU ms, with ${STEPS} steps and a picture of 96 px`);
  const short = await parts.figures();
  await drawAll(key, GENERATIONS, { steps: 1 });
  const ofShort = used(short, await parts.figures(), idle);
  const perStep = (field: keyof Figures): number => (cost[field] - ofShort[field]) / GENERATIONS / (STEPS - 1);
  note("step: dispatcher", perStep("dispatcherCpuMs"), "CPU ms, with a preview, watched or not");
  note("step: Redis", perStep("redisCommands"), "commands");
  for (const [name, count] of connections) note(`connections: ${name}`, count, "to PostgreSQL, at most so far");
}

async function measureLarge(key: string, idle: Figures): Promise<void> {
  const [bytesBefore, before] = [storedPictureBytes(), await parts.figures()];
  await drawAll(key, LARGE, { side: 1024 });
  const cost = used(before, await parts.figures(), idle);
  note(
    "picture of 1024 px: dispatcher",
    cost.dispatcherCpuMs / LARGE,
    "CPU ms with its generation: scaled twice, encoded, stored",
  );
  note("picture of 1024 px: PNG of the worker", pictures.get(1024)?.length ?? 0, "bytes, grainy");
  note("picture of 1024 px: storage", (storedPictureBytes() - bytesBefore) / LARGE, "bytes in three variants");
}

function storedPictureBytes(): number {
  const entries = readdirSync(parts.imageFolder, { recursive: true, withFileTypes: true });
  return entries.reduce(
    (sum, entry) => sum + (entry.isFile() ? statSync(join(entry.parentPath, entry.name)).size : 0),
    0,
  );
}

async function measureQueries(key: string, idle: Figures): Promise<void> {
  const ids = await drawAll(key, WORKERS);
  const measure = async (name: string, count: number, ask: (i: number) => Promise<unknown>): Promise<void> => {
    const before = await parts.figures();
    for (let done = 0; done < count; done += 8) await Promise.all(Array.from({ length: 8 }, (_, i) => ask(done + i)));
    const cost = used(before, await parts.figures(), idle);
    note(`query: ${name}`, cost.apiCpuMs / count, "CPU ms of the API");
  };
  await measure("one generation", QUERIES, (i) => parts.ask(key, GENERATION, { id: ids[i % ids.length] }));
  await measure("a page of 20", QUERIES / 4, () => parts.ask(key, PAGE));
}

interface Received {
  messages: number;
  bytes: number;
}

async function measureSockets(keys: readonly string[]): Promise<void> {
  const received: Received = { messages: 0, bytes: 0 };
  const before = residentBytesOf(parts.apiPid);
  const sockets = await Promise.all(
    Array.from({ length: SOCKETS }, (_, i) => open(keys[Math.floor(i / SOCKETS_PER_KEY)] ?? "", received)),
  );
  await pause(COUNTED_MS);
  note("process: API at rest", before, "bytes of resident memory, after the load above");
  note("process: dispatcher", residentBytesOf(parts.dispatcherPid), "bytes of resident memory, after the load above");
  note("socket: idle", (residentBytesOf(parts.apiPid) - before) / SOCKETS, "bytes of the API's resident memory");

  await measureFrames(keys, { sockets, received });
  for (const socket of sockets) socket.terminate();
}

/** One generation of each key, and its part of the watchers. It hardly moves until all of them are there. */
async function measureFrames(
  keys: readonly string[],
  { sockets, received }: { sockets: readonly WebSocket[]; received: Received },
): Promise<void> {
  pace.stepMs = 3000;
  const ask = async (key: string): Promise<string> => {
    const input = { idempotencyKey: crypto.randomUUID(), task: { textToImage: { prompt: "watched" } } };
    return createdId(await parts.ask<Created>(key, CREATE, { input }));
  };
  const watched = await Promise.all(keys.map(ask));
  const [unwatched, bytesBefore] = [await parts.figures(), residentBytesOf(parts.apiPid)];
  const perKey = WATCHERS / keys.length;
  for (const [place, id] of watched.entries())
    for (const socket of sockets.slice(place * SOCKETS_PER_KEY, place * SOCKETS_PER_KEY + perKey))
      socket.send(JSON.stringify({ id: "1", type: "subscribe", payload: { query: EVENTS, variables: { id } } }));
  while (received.messages < 2 * WATCHERS) await pause(20); // Queued, and Started or a frame
  const from = await parts.figures();
  note("subscription: API", used(unwatched, from).apiCpuMs / WATCHERS, "CPU ms to subscribe");
  note(
    "subscription: memory",
    (residentBytesOf(parts.apiPid) - bytesBefore) / WATCHERS,
    "bytes of the API's resident memory",
  );
  const before = { ...received };
  pace.stepMs = FRAME_MS;
  await untilAllEnded();
  const { apiCpuMs, atMs } = used(from, await parts.figures());
  const [messages, bytes] = [received.messages - before.messages, received.bytes - before.bytes];
  note("frames: sent", messages / (atMs / 1000), `messages a second to ${WATCHERS} subscribers, half of them previews`);
  note("frames: size", bytes / messages, `bytes on average; a preview has ${PREVIEW_BYTES} before base64`);
  note("frames: API", (apiCpuMs * 1000) / messages, "CPU us a message");
  note("frames: one API core", messages / (apiCpuMs / 1000), "messages a second, if it did nothing else");
}

/** A socket that is let in, and counts what comes. */
async function open(key: string, received: Received): Promise<WebSocket> {
  const socket = new WebSocket(parts.url.replace("http", "ws"), "graphql-transport-ws");
  await new Promise<void>((resolve, reject) => {
    socket.on("error", reject);
    socket.on("open", () =>
      socket.send(JSON.stringify({ type: "connection_init", payload: { authorization: `Bearer ${key}` } })),
    );
    socket.once("message", () => resolve());
  });
  socket.on("message", (data: Buffer) => {
    received.messages++;
    received.bytes += data.length;
  });
  return socket;
}

/** As many commits a second as the disk flushes, alone and together. */
async function measureFlushes(): Promise<void> {
  const { user, host, port, database } = parts.admin;
  for (const count of [1, 16]) {
    const clients = Array.from(
      { length: count },
      () => new pg.Client({ user, host, port, database } as pg.ClientConfig),
    );
    for (const client of clients) await client.connect();
    const startedAt = performance.now();
    let commits = 0;
    const work = clients.map(async (client) => {
      while (performance.now() - startedAt < 3000) {
        await client.query("select pg_logical_emit_message(true, 'bench', '')"); // one without a record is not flushed
        commits++;
      }
    });
    await Promise.all(work);
    note(
      `disk: ${count} connection${count > 1 ? "s" : ""}`,
      commits / ((performance.now() - startedAt) / 1000),
      "flushed commits a second",
    );
    for (const client of clients) await client.end();
  }
}
