/**
 * How much memory do two workers of one model take, with graphs as they were built and with prepared copies of them?
 *
 *     npm run build && node --enable-source-maps dist/bench/memory.js [model folder] [rounds]
 *
 * Two processes at once open every graph and draw twice; what they hold then that no file backs (Anonymous of
 * /proc/<pid>/smaps_rollup), less what they held before they opened anything, is compared with the weights file. Plain
 * and prepared in turns; pictures must be equal. Without a folder: the published widths with a few layers each, written
 * and built in a temporary folder (10 GB of disk). Writes bench/results/memory.json.
 */
import { type ChildProcess, fork } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { linkSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { buildModel } from "../inference/build-model.ts";
import { GRAPH_NAMES, WEIGHTS_FILE } from "../inference/manifest.ts";
import { openPipelines } from "../inference/pipelines/pipelines.ts";
import { textToImage } from "../inference/pipelines/text-to-image.ts";
import { defaultDrawing } from "./measuring/default-drawing.ts";
import { writeSyntheticCheckpoint } from "./rehearsal/synthetic-checkpoint.ts";

const FEW_LAYERS = {
  mar: { encoder_depth: 4, decoder_depth: 4, diffloss_d: 3 },
  llm: { num_hidden_layers: 4 },
};
/** Pixels: larger pictures need more memory for what the graphs compute, whatever becomes of the weights. */
const LARGEST_SIDE = 256;
const MIB = 1024 ** 2;

/** Of one process; bytes and milliseconds. */
interface Usage {
  readonly openMs: number;
  /** Held after every graph was opened, and after two pictures. */
  readonly opened: number;
  readonly drawn: number;
  /** Of the second picture. */
  readonly cpuMs: number;
  readonly picture: string;
}

const [folder, rounds = "3"] = process.argv.slice(2);
if (process.send !== undefined && folder !== undefined) await beWorker(folder);
else await compare();

async function compare(): Promise<void> {
  const scratch = mkdtempSync(folder === undefined ? join(tmpdir(), "atelier-bench-") : `${resolve(folder)}-bench-`);
  try {
    const model = folder ?? (await buildFewLayers(scratch));
    const folders = {
      plain: linked(model, join(scratch, "plain")),
      prepared: linked(model, join(scratch, "prepared")),
    };
    const first = await measureTwo(folders.prepared, { prepares: true });
    const usages: Record<keyof typeof folders, Usage[]> = { plain: [], prepared: [] };
    for (let round = 0; round < Number(rounds); round++) {
      const kinds = ["plain", "prepared"] as const;
      for (const kind of round % 2 === 0 ? kinds : [...kinds].reverse()) {
        usages[kind].push(...(await measureTwo(folders[kind], { prepares: false })));
      }
    }
    const all = [...first, ...usages.plain, ...usages.prepared];
    if (new Set(all.map(({ picture }) => picture)).size > 1) throw new Error("The pictures differ.");
    report(
      { first, ...usages },
      { weights: sizeOf(join(model, WEIGHTS_FILE)), disk: sizeOf(join(folders.prepared, "prepared")) },
    );
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

function report(usages: Record<string, readonly Usage[]>, { weights, disk }: { weights: number; disk: number }): void {
  const rows = Object.entries(usages).map(([kind, each]) => ({
    start: kind === "first" ? "prepared, the first time" : kind,
    "opened, of the weights": rounded(median(each.map(({ opened }) => opened)) / weights, 3),
    "after two pictures": rounded(median(each.map(({ drawn }) => drawn)) / weights, 3),
    "MiB then": rounded(median(each.map(({ drawn }) => drawn)) / MIB, 0),
    "opening, s": rounded(median(each.map(({ openMs }) => openMs)) / 1000, 1),
    "a picture, CPU ms": rounded(median(each.map(({ cpuMs }) => cpuMs)), 0),
  }));
  console.log(
    `weights: ${rounded(weights / MIB, 0)} MiB; prepared copies: ${rounded(disk / MIB, 0)} MiB; medians of each worker`,
  );
  console.table(rows);
  const results = join(import.meta.dirname, "../../bench/results");
  mkdirSync(results, { recursive: true });
  writeFileSync(join(results, "memory.json"), `${JSON.stringify({ weights, disk, rows, usages }, undefined, 2)}\n`);
}

async function buildFewLayers(scratch: string): Promise<string> {
  const checkpointFolder = join(scratch, "checkpoint");
  mkdirSync(checkpointFolder);
  writeSyntheticCheckpoint(checkpointFolder, FEW_LAYERS);
  await buildModel({ checkpointFolder, out: join(scratch, "model") });
  rmSync(checkpointFolder, { recursive: true });
  return join(scratch, "model");
}

/** The same files in another folder, so that the model's own one stays as it is. */
function linked(model: string, out: string): string {
  mkdirSync(out);
  for (const { name } of readdirSync(model, { withFileTypes: true }).filter((entry) => entry.isFile())) {
    linkSync(join(model, name), join(out, name));
  }
  return out;
}

/** Two at once; both live until both have measured. */
async function measureTwo(model: string, { prepares }: { prepares: boolean }): Promise<Usage[]> {
  const children = [1, 2].map(() => fork(import.meta.filename, [model, String(prepares)]));
  try {
    return await Promise.all(children.map(usageOf));
  } finally {
    for (const child of children) child.kill("SIGKILL");
  }
}

async function usageOf(child: ChildProcess): Promise<Usage> {
  const ended = once(child, "exit").then(([code]) => Promise.reject(new Error(`a worker ended with ${code}`)));
  const [usage] = await Promise.race([once(child, "message"), ended]);
  ended.catch(() => undefined);
  return usage as Usage;
}

async function beWorker(model: string): Promise<void> {
  const before = anonymousBytes();
  const startedAt = performance.now();
  const prepares = process.argv[3] === "true";
  const pipelines = openPipelines(model, { provider: "cpu", threads: 1, prepares, onNotice: console.error });
  await pipelines.model.warmUp(GRAPH_NAMES);
  const openMs = performance.now() - startedAt;
  const opened = anonymousBytes() - before;
  const { manifest } = pipelines.model;
  const side = Math.min(manifest.defaults.size, LARGEST_SIDE);
  const request = { ...defaultDrawing(manifest, { prompt: "a red circle", seed: 1n }), width: side, height: side };
  const hash = createHash("sha256");
  let cpuMs = 0;
  for (let picture = 0; picture < 2; picture++) {
    const cpu = process.cpuUsage();
    const steps = { steps: 2, diffusionSteps: "2", guidanceScale: 3 };
    const signal = new AbortController().signal;
    for await (const event of textToImage(pipelines, { ...request, ...steps }, { signal })) {
      if (event.kind === "image") hash.update(event.image.data);
    }
    const { user, system } = process.cpuUsage(cpu);
    cpuMs = (user + system) / 1000;
  }
  process.send?.({
    openMs,
    opened,
    drawn: anonymousBytes() - before,
    cpuMs,
    picture: hash.digest("hex"),
  } satisfies Usage);
}

function anonymousBytes(): number {
  const [, kib = "0"] = /^Anonymous:\s+(\d+) kB/m.exec(readFileSync("/proc/self/smaps_rollup", "utf8")) ?? [];
  return Number(kib) * 1024;
}

function sizeOf(path: string): number {
  const stat = statSync(path);
  return stat.isDirectory() ? readdirSync(path).reduce((sum, name) => sum + sizeOf(join(path, name)), 0) : stat.size;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

function rounded(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
