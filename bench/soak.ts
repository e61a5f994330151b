/**
 * Does a worker's memory grow with every generation?
 *
 *     npm run build && node --expose-gc --enable-source-maps dist/bench/soak.js [model folder] [generations]
 *
 * Draws short pictures of twenty prompts in turn, each with another seed, and fits a line through the memory after each,
 * the first fifth left out: caches fill there. Prints the slopes; writes bench/results/soak.json.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openPipelines } from "../inference/pipelines/pipelines.ts";
import { textToImage } from "../inference/pipelines/text-to-image.ts";
import { defaultDrawing } from "./measuring/default-drawing.ts";

const [folder = ".atelier/models/tiny", generations = "1000"] = process.argv.slice(2);

const COLORS = ["red", "green", "blue", "yellow", "white"];
const SHAPES = ["circle", "square", "triangle", "star"];

/** KiB. */
interface Memory {
  readonly anonymous: number;
  readonly heap: number;
}

const pipelines = openPipelines(folder, { provider: "cpu", threads: 1 });
const memories: Memory[] = [];
for (let index = 0; index < Number(generations); index++) {
  await draw(index);
  globalThis.gc?.();
  memories.push({ anonymous: anonymousKib(), heap: process.memoryUsage().heapUsed / 1024 });
}
await pipelines.close();

const settled = memories.slice(Math.floor(memories.length / 5));
const rows = (["anonymous", "heap"] as const).map((kind) => ({
  memory: kind,
  "first KiB": Math.round(settled[0]?.[kind] ?? 0),
  "last KiB": Math.round(settled.at(-1)?.[kind] ?? 0),
  "KiB per generation": Number(slope(settled.map((memory) => memory[kind])).toFixed(3)),
}));
console.log(`${generations} generations of one picture`);
console.table(rows);
const results = join(import.meta.dirname, "../../bench/results");
mkdirSync(results, { recursive: true });
writeFileSync(join(results, "soak.json"), `${JSON.stringify({ generations, rows }, undefined, 2)}\n`);

/** As short as a picture can be that runs every graph, with guidance. */
async function draw(index: number): Promise<void> {
  const color = COLORS[index % COLORS.length];
  const shape = SHAPES[Math.floor(index / COLORS.length) % SHAPES.length];
  const request = {
    ...defaultDrawing(pipelines.model.manifest, { prompt: `a ${color} ${shape}`, seed: BigInt(index) }),
    steps: 2,
    diffusionSteps: "2",
    guidanceScale: 3,
  };
  for await (const _ of textToImage(pipelines, request, { signal: new AbortController().signal }));
}

/** What no file backs. */
function anonymousKib(): number {
  const [, kib = "0"] = /^Anonymous:\s+(\d+) kB/m.exec(readFileSync("/proc/self/smaps_rollup", "utf8")) ?? [];
  return Number(kib);
}

/** Of the least-squares line through the values, per value. */
function slope(values: readonly number[]): number {
  const middle = (values.length - 1) / 2;
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const covariance = values.reduce((sum, value, index) => sum + (index - middle) * (value - mean), 0);
  return covariance / values.reduce((sum, _, index) => sum + (index - middle) ** 2, 0);
}
