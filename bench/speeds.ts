/**
 * What do the speeds gain, and how far are their pictures from exact ones?
 *
 *     node dist/bench/speeds.js [model folder] [rounds] [threads]
 *
 * Every round draws one picture of equal prompt and seed at each speed, and then again in the opposite order; the table
 * has medians over the rounds of CPU time, of its ratio within a round, and of the pictures' PSNR against the exact one.
 * The second table counts operations of the published model from the same schedules. Writes bench/results/speeds.json.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { genevalPrompts } from "../inference/eval/geneval-prompts.ts";
import type { RgbImage } from "../inference/image/rgb-image.ts";
import { parseUnipicConfig } from "../inference/model/config.ts";
import { openPipelines } from "../inference/pipelines/pipelines.ts";
import { textToImage } from "../inference/pipelines/text-to-image.ts";
import { SPEEDS, type Speed } from "../inference/sampling/speed.ts";
import { ourFlops, totalOf } from "./flops/picture-flops.ts";
import { defaultDrawing } from "./measuring/default-drawing.ts";

const [folder = ".atelier/models/tiny", rounds = "24", threads = "1"] = process.argv.slice(2);
const pipelines = openPipelines(folder, { provider: "cpu", threads: Number(threads) });
const { defaults, preset } = pipelines.model.manifest;

interface Measured {
  readonly cpuMs: number;
  readonly image: RgbImage;
}

const measured: Record<Speed, Measured>[] = [];
const prompts = genevalPrompts(Math.ceil(Number(rounds) / 6), 4242n).map(({ text }) => text);
await drawAll(prompts[0] ?? "", 0n); // opens the sessions
for (let round = 0; round < Number(rounds); round++)
  measured.push(await drawAll(prompts[round % prompts.length] ?? "", BigInt(round)));
await pipelines.close();

const rows = SPEEDS.map((speed) => ({
  speed,
  "CPU ms": rounded(median(measured.map((round) => round[speed].cpuMs)), 1),
  "times faster": rounded(median(measured.map((round) => round.exact.cpuMs / round[speed].cpuMs)), 2),
  "PSNR dB": rounded(median(measured.map((round) => psnr(round.exact.image, round[speed].image))), 1),
}));
console.log(`${preset}: ${defaults.size} px, ${defaults.steps} steps x ${defaults.diffusionSteps}, ${rounds} rounds`);
console.table(rows);
const counted = SPEEDS.map((speed) => ({ speed, TFLOP: rounded(teraFlop(speed), 0) }));
const published = counted.map((row) => ({
  ...row,
  "times fewer": rounded(teraFlop("exact") / teraFlop(row.speed), 2),
}));
console.log("unipic-1.5b: 1024 px, 32 steps x 100, guidance 3, counted");
console.table(published);
const results = join(import.meta.dirname, "../../bench/results");
mkdirSync(results, { recursive: true });
writeFileSync(
  join(results, "speeds.json"),
  `${JSON.stringify({ preset, threads, rounds, rows, published }, undefined, 2)}\n`,
);

/** Forth and back, so that a drift of the machine's speed meets all speeds alike. */
async function drawAll(text: string, seed: bigint): Promise<Record<Speed, Measured>> {
  const forth: Measured[] = [];
  for (const speed of SPEEDS) forth.push(await draw(text, seed, speed));
  const back: Measured[] = [];
  for (const speed of [...SPEEDS].reverse()) back.unshift(await draw(text, seed, speed));
  const pairs = SPEEDS.map((speed, i) => {
    const [first, second] = [forth[i], back[i]];
    if (first === undefined || second === undefined || psnr(first.image, second.image) !== Number.POSITIVE_INFINITY)
      throw new Error(`the pictures of "${text}" at speed ${speed} differ`);
    return [speed, { cpuMs: (first.cpuMs + second.cpuMs) / 2, image: first.image }] as const;
  });
  return Object.fromEntries(pairs) as Record<Speed, Measured>;
}

async function draw(text: string, seed: bigint, speed: Speed): Promise<Measured> {
  const request = { ...defaultDrawing(pipelines.model.manifest, { prompt: text, seed }), speed };
  const cpu = process.cpuUsage();
  let image: RgbImage | undefined;
  for await (const event of textToImage(pipelines, request, { signal: new AbortController().signal })) {
    if (event.kind === "image") image = event.image;
  }
  const { user, system } = process.cpuUsage(cpu);
  if (image === undefined) throw new Error("no picture");
  return { cpuMs: (user + system) / 1000, image };
}

function teraFlop(speed: Speed): number {
  const config = parseUnipicConfig({ defaults: {} }, "the published configuration");
  const work = { side: 64, steps: 32, diffusionSteps: 100, promptTokens: [40, 20] } as const;
  return totalOf(ourFlops(config, work, speed)) / 1e12;
}

function psnr(a: RgbImage, b: RgbImage): number {
  const squares = a.data.reduce((sum, level, i) => sum + (level - (b.data[i] ?? 0)) ** 2, 0);
  return 10 * Math.log10((255 ** 2 * a.data.length) / squares);
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

function rounded(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
