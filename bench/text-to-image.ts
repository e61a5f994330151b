/**
 * What does one picture of a model cost, and where does the time go?
 *
 *     npm run bench -- [model folder] [pictures] [threads]
 *
 * Prints medians over the pictures after one that warms up; writes bench/results/text-to-image.json.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { GRAPH_NAMES, type GraphName } from "../inference/manifest.ts";
import { openPipelines } from "../inference/pipelines/pipelines.ts";
import { textToImage } from "../inference/pipelines/text-to-image.ts";
import { defaultDrawing } from "./measuring/default-drawing.ts";
import { median } from "./measuring/interleaved.ts";

const [folder = ".atelier/models/tiny", pictures = "15", threads = "2"] = process.argv.slice(2);

interface Cost {
  runs: number;
  wallMs: number;
  cpuMs: number;
}

const perGraph = new Map<GraphName, Cost>();
const pipelines = openPipelines(folder, {
  provider: "cpu",
  threads: Number(threads),
  onRun({ graph, wallMs, cpuMs }) {
    const cost = perGraph.get(graph) ?? { runs: 0, wallMs: 0, cpuMs: 0 };
    perGraph.set(graph, { runs: cost.runs + 1, wallMs: cost.wallMs + wallMs, cpuMs: cost.cpuMs + cpuMs });
  },
});
const { defaults, preset } = pipelines.model.manifest;

const rounds: Map<string, Cost>[] = [];
for (let round = 0; round <= Number(pictures); round++) {
  perGraph.clear();
  const startedAt = performance.now();
  const cpu = process.cpuUsage();
  await draw(BigInt(round));
  const { user, system } = process.cpuUsage(cpu);
  const total = { runs: 1, wallMs: performance.now() - startedAt, cpuMs: (user + system) / 1000 };
  if (round > 0) rounds.push(new Map<string, Cost>([...perGraph, ["total", total]]));
}
await pipelines.close();

const used = GRAPH_NAMES.filter((name) => rounds.some((round) => round.has(name)));
const rows = [...used, "total"].map((name) => ({
  part: name,
  runs: median(rounds.map((round) => round.get(name)?.runs ?? 0)),
  "wall ms": Number(median(rounds.map((round) => round.get(name)?.wallMs ?? 0)).toFixed(1)),
  "CPU ms": Number(median(rounds.map((round) => round.get(name)?.cpuMs ?? 0)).toFixed(1)),
}));
console.log(
  `${preset}: ${defaults.size} px, ${defaults.steps} steps x ${defaults.diffusionSteps}, ${threads} threads, median of ${pictures}`,
);
console.table(rows);
const results = join(import.meta.dirname, "../../bench/results");
mkdirSync(results, { recursive: true });
writeFileSync(
  join(results, "text-to-image.json"),
  `${JSON.stringify({ preset, threads, pictures, rows }, undefined, 2)}\n`,
);

async function draw(seed: bigint): Promise<void> {
  const request = defaultDrawing(pipelines.model.manifest, { prompt: "a red circle at the top left", seed });
  for await (const _ of textToImage(pipelines, request, { signal: new AbortController().signal }));
}
