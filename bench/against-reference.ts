/**
 * Is our runtime exact, and how much less does it cost than a plain PyTorch implementation that does what the original
 * does? Same weights, same noise and orders, one thread each, both alternately in one run.
 *
 *     npm run bench:reference -- [pairs] [tasks, separated by commas]
 *
 * Needs Python 3 with PyTorch (Debian: python3-torch; PYTHON names another interpreter). Prints ratios of CPU time, and
 * writes bench/results/against-reference.json. Fails where results differ by more than 1e-4 of max(1, largest value).
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildModel } from "../inference/build-model.ts";
import { openPipelines } from "../inference/pipelines/pipelines.ts";
import { compare, inThisProcess } from "./measuring/interleaved.ts";
import { openMatrixProduct } from "./measuring/matrix-product.ts";
import { ReferenceProcess } from "./reference/reference-process.ts";
import { type Task, tasksOf } from "./reference/tasks.ts";

const ROOT = join(import.meta.dirname, "../..");
const CHECKPOINT = join(ROOT, "inference/presets/tiny");
/** The limit of the golden recordings for whole runs. */
const LIMIT = 1e-4;
const SLICE_MS = 100;

const [pairs = "24", chosen] = process.argv.slice(2);

const folder = mkdtempSync(join(tmpdir(), "atelier-bench-"));
const { reference, torch } = await ReferenceProcess.open(CHECKPOINT).catch((error: Error) => {
  console.error(error.message);
  process.exit(1);
});
try {
  await buildModel({ checkpointFolder: CHECKPOINT, out: join(folder, "model") });
  const pipelines = openPipelines(join(folder, "model"), { provider: "cpu", threads: 1 });
  const product = await openMatrixProduct({ rows: 256, inputs: 1536, outputs: 1536 });
  const rows = [];
  for (const task of await tasksOf(pipelines)) {
    if (chosen !== undefined && !chosen.split(",").includes(task.name)) continue;
    rows.push(await measure(task, inThisProcess(product.run)));
  }
  console.log(`tiny, fp32, one thread each, torch ${torch}; CPU time`);
  console.table(Object.fromEntries(rows.map(({ task, ...row }) => [task, row])));
  mkdirSync(join(ROOT, "bench/results"), { recursive: true });
  writeFileSync(
    join(ROOT, "bench/results/against-reference.json"),
    `${JSON.stringify({ torch, rows }, undefined, 2)}\n`,
  );
  await product.close();
  await pipelines.close();
} finally {
  reference.close();
  rmSync(folder, { recursive: true });
}

async function measure(task: Task, calibration: ReturnType<typeof inThisProcess>) {
  await reference.prepare(task.name, task.inputs);
  const theirs = reference.contender(task.name);
  await theirs(1);
  const error = await worstDeviation(task);
  const found = await compare({
    ours: inThisProcess(task.run),
    theirs,
    calibration,
    pairs: Number(pairs),
    sliceMs: SLICE_MS,
  });
  const rounded = (value: number): number => Number(value.toPrecision(3));
  return {
    task: task.name,
    "ours ms": rounded(found.ours.cpuMs),
    "reference ms": rounded(found.theirs.cpuMs),
    ratio: rounded(found.ratio),
    "95 %": found.interval.map(rounded).join(" to "),
    "of minima": rounded(found.ratioOfMinima),
    "wall ratio": rounded(found.theirs.wallMs / found.ours.wallMs),
    pairs: found.pairs,
    discarded: found.discarded,
    "max error": Number(error.toExponential(1)),
    what: task.description,
  };
}

/** Relative to max(1, largest value of the reference); throws above the limit. */
async function worstDeviation(task: Task): Promise<number> {
  let worst = 0;
  for (const [name, actual] of Object.entries(await task.results())) {
    const expected = await reference.result(task.name, name);
    const limit = name === "bytes" ? 1 : LIMIT;
    const error = name === "bytes" ? largestDifference(actual, expected) : deviation(actual, expected);
    if (!(error <= limit)) throw new Error(`${task.name}: ${name} differs from the reference's by ${error}`);
    if (name !== "bytes") worst = Math.max(worst, error);
  }
  return worst;
}

function deviation(actual: Float32Array, expected: Float32Array): number {
  return (
    largestDifference(actual, expected) / expected.reduce((largest, value) => Math.max(largest, Math.abs(value)), 1)
  );
}

/** NaN where anything is missing. */
function largestDifference(actual: Float32Array, expected: Float32Array): number {
  if (actual.length !== expected.length) return Number.NaN;
  return actual.reduce((worst, value, i) => Math.max(worst, Math.abs(value - (expected[i] ?? Number.NaN))), 0);
}
