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
import { openPipelines } from "../inference/pipelines/pipelines.ts";
import { textToImage } from "../inference/pipelines/text-to-image.ts";
import { maskSteps } from "../inference/sampling/mask-schedule.ts";
import { SPEEDS, type Speed, stepRuns } from "../inference/sampling/speed.ts";

const [folder = ".atelier/models/tiny", rounds = "24", threads = "1"] = process.argv.slice(2);
const pipelines = openPipelines(folder, { provider: "cpu", threads: Number(threads) });
const { defaults, prompt, preset } = pipelines.model.manifest;

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
  const { size, ...settings } = defaults;
  const request = {
    ...settings,
    prompt: text,
    unconditionalPrompt: prompt.textToImageUnconditional,
    width: size,
    height: size,
    count: 1,
    guidanceSchedule: "constant",
    speed,
    seed,
  } as const;
  const cpu = process.cpuUsage();
  let image: RgbImage | undefined;
  for await (const event of textToImage(pipelines, request, { signal: new AbortController().signal })) {
    if (event.kind === "image") image = event.image;
  }
  const { user, system } = process.cpuUsage(cpu);
  if (image === undefined) throw new Error("no picture");
  return { cpuMs: (user + system) / 1000, image };
}

/**
 * Operations of the published model: two for each multiplication with addition; norms, softmax and activations are not
 * counted. Widths and depths are those of configs/models/qwen2_5_1_5b_kl16_mar_h.py in SkyworkAI/UniPic, UniPic-1.
 */
function teraFlop(speed: Speed): number {
  const [tokens, buffers, promptTokens, diffusionSteps] = [4096, 64, 40, 100];
  const [width, llmWidth, layers, llmLayers] = [1280, 1536, 20, 28];
  const projections = 2 * (width * llmWidth + llmWidth * llmWidth);
  const blocks = (rows: number, count: number): number => count * (24 * width ** 2 * rows + 4 * rows ** 2 * width);
  const llm = (rows: number): number =>
    rows * (2 * 1.31e9 + projections) + llmLayers * 4 * llmWidth * (rows * promptTokens + rows ** 2 / 2);
  const decoder = (predicted: number): number => {
    const rows = buffers + tokens;
    return blocks(rows, layers - 1) + 4 * width ** 2 * rows + predicted * (20 * width ** 2 + 4 * rows * width);
  };
  const vae = 4.0e12;
  const runs = stepRuns(maskSteps({ tokenCount: tokens, steps: 32 }), speed, true);
  const counts = runs.map(({ steps, diffusionShare, reusesGuidance }) => {
    const rows = buffers + (steps[0]?.visible ?? 0);
    const predicted = steps.reduce((sum, step) => sum + step.predicted, 0);
    const transformers = (reusesGuidance ? 1 : 2) * (llm(rows) + decoder(predicted));
    const diffusion = 2 * predicted * Math.round(diffusionSteps * diffusionShare) * 2 * 146.35e6;
    return blocks(rows, layers) + rows * projections + transformers + diffusion;
  });
  return counts.reduce((sum, each) => sum + each, vae) / 1e12;
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
