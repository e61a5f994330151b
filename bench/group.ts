/**
 * Does drawing several requests together cost less than drawing them one after the other?
 *
 *     node dist/bench/group.js [model folder] [rounds] [threads]
 *
 * Every round draws the same requests alone and then in groups of 2, 4 and 8, and compares the pictures. Prints medians
 * over the rounds after one that warms up; writes bench/results/group.json.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { RgbImage } from "../inference/image/rgb-image.ts";
import { openPipelines } from "../inference/pipelines/pipelines.ts";
import { drawBatch } from "../inference/pipelines/text-to-image-batch.ts";
import { defaultDrawing } from "./measuring/default-drawing.ts";

const [folder = ".atelier/models/tiny", rounds = "9", threads = "1"] = process.argv.slice(2);
const GROUP_SIZES = [1, 2, 4, 8];
/** Company changes the order of sums; a pixel near the border of two levels may go either way. */
const COMPANY_LEVELS = 1;
const PROMPTS = ["a red circle at the top left", "two stars", "an orange diamond above a pink heart", "a blue square"];

const pipelines = openPipelines(folder, { provider: "cpu", threads: Number(threads) });
const { defaults, preset } = pipelines.model.manifest;
const requests = Array.from({ length: Math.max(...GROUP_SIZES) }, (_, i) =>
  defaultDrawing(pipelines.model.manifest, { prompt: PROMPTS[i % PROMPTS.length] ?? "", seed: BigInt(i) }),
);

interface Cost {
  readonly cpuMs: number;
  readonly wallMs: number;
}

const costs = new Map(GROUP_SIZES.map((size): [number, Cost[]] => [size, []]));
let worst = 0;
for (let round = 0; round <= Number(rounds); round++) {
  let alone: readonly RgbImage[] = [];
  for (const size of GROUP_SIZES) {
    const { pictures, cost } = await drawAll(size);
    if (size === 1) alone = pictures;
    for (const [i, picture] of pictures.entries()) worst = Math.max(worst, difference(picture, alone[i]));
    if (round > 0) costs.get(size)?.push(cost);
  }
}
await pipelines.close();
if (worst > COMPANY_LEVELS) throw new Error(`pictures in company differ by ${worst} levels`);

const [single = []] = costs.values();
const rows = [...costs].map(([size, measured]) => ({
  "group size": size,
  "CPU ms a picture": Number(median(measured.map(({ cpuMs }) => cpuMs)).toFixed(1)),
  "wall ms a picture": Number(median(measured.map(({ wallMs }) => wallMs)).toFixed(1)),
  "CPU, times alone": Number(
    median(measured.map(({ cpuMs }, round) => cpuMs / (single[round]?.cpuMs ?? Number.NaN))).toFixed(3),
  ),
}));
console.log(
  `${preset}: ${defaults.size} px, ${defaults.steps} steps x ${defaults.diffusionSteps}, ${threads} threads, ` +
    `${requests.length} requests, median of ${rounds}; pictures differ by at most ${worst} levels`,
);
console.table(rows);
const results = join(import.meta.dirname, "../../bench/results");
mkdirSync(results, { recursive: true });
writeFileSync(
  join(results, "group.json"),
  `${JSON.stringify({ preset, threads, rounds, worst, rows }, undefined, 2)}\n`,
);

async function drawAll(groupSize: number): Promise<{ pictures: readonly RgbImage[]; cost: Cost }> {
  const startedAt = performance.now();
  const cpu = process.cpuUsage();
  const pictures: RgbImage[] = [];
  for (let first = 0; first < requests.length; first += groupSize) {
    const group = requests.slice(first, first + groupSize);
    pictures.push(...(await drawBatch(pipelines, group, new AbortController().signal)).flat());
  }
  const { user, system } = process.cpuUsage(cpu);
  const wallMs = performance.now() - startedAt;
  return {
    pictures,
    cost: { cpuMs: (user + system) / 1000 / requests.length, wallMs: wallMs / requests.length },
  };
}

/** Largest difference of two pictures, in levels of 0..255. */
function difference(a: RgbImage, b: RgbImage | undefined): number {
  return a.data.reduce((most, level, i) => Math.max(most, Math.abs(level - (b?.data[i] ?? Number.NaN))), 0);
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}
