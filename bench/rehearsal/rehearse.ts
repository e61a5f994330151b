/**
 * Does the published model's size work on this machine? Writes a synthetic checkpoint of that size, then runs the real
 * commands on it, one after the other, and reports what each of them took.
 *
 *     npm run build && node dist/bench/rehearsal/rehearse.js <empty folder with 25 GB of space> [threads]
 *
 * Writes bench/results/rehearsal.json. What is in the folder already is not made again; delete it afterwards.
 */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { writeSyntheticCheckpoint } from "./synthetic-checkpoint.ts";

const [folder, threads = "2"] = process.argv.slice(2);
if (folder === undefined) throw new Error("usage: rehearse.js <folder> [threads]");

interface Figures {
  readonly step: string;
  readonly seconds: number;
  readonly "peak RSS GiB": number;
  /** What no file backs: it cannot be given back to the system. */
  readonly "peak anonymous GiB": number;
}

const GIB = 1024 ** 3;
const checkpoint = join(folder, "checkpoint");
const model = join(folder, "model");
const picture = join(folder, "picture.png");

mkdirSync(folder, { recursive: true });
if (!existsSync(checkpoint)) {
  const unfinished = `${checkpoint}.unfinished`;
  rmSync(unfinished, { recursive: true, force: true });
  mkdirSync(unfinished);
  const startedAt = performance.now();
  writeSyntheticCheckpoint(unfinished);
  renameSync(unfinished, checkpoint);
  console.log(`checkpoint: ${gib(sizeOf(checkpoint))} GiB in ${seconds(startedAt)} s`);
}

const draw = ["--steps", "4", "--seed", "1", "--threads", threads, "--model", model];
const small = ["--width", "256", "--height", "256"];
const rows: Figures[] = [
  await measure("build", "build", checkpoint, "--out", model),
  await measure(
    "text-to-image 256",
    "run",
    "text-to-image",
    ...draw,
    ...small,
    "--prompt",
    "a heart",
    "--out",
    picture,
  ),
  await measure(
    ...(["image-to-text 256", "run", "image-to-text", "--model", model, "--threads", threads] as const),
    ...["--image", picture, "--size", "256", "--max-tokens", "8"],
  ),
  await measure(
    ...(["image-edit 256", "run", "image-edit", ...draw, ...small, "--image", picture] as const),
    ...["--prompt", "make it blue", "--out", join(folder, "edited.png")],
  ),
  await measure(
    ...([
      "text-to-image 1024, one step",
      "run",
      "text-to-image",
      ...draw,
      "--steps",
      "1",
      "--diffusion-steps",
      "1",
    ] as const),
    ...["--guidance-scale", "1", "--prompt", "a heart", "--out", join(folder, "large.png")],
  ),
];
console.log(`model folder: ${gib(sizeOf(model))} GiB, ${threads} threads`);
console.table(rows);
const results = join(import.meta.dirname, "../../../bench/results");
mkdirSync(results, { recursive: true });
writeFileSync(join(results, "rehearsal.json"), `${JSON.stringify({ threads, rows }, undefined, 2)}\n`);

/** Runs a command of the model tool to its end. */
async function measure(step: string, ...command: readonly string[]): Promise<Figures> {
  console.log(`${step}: ${command.join(" ")}`);
  const startedAt = performance.now();
  const cli = join(import.meta.dirname, "../../inference/cli.js");
  const child = spawn(process.execPath, ["--enable-source-maps", cli, ...command], {
    stdio: ["ignore", "inherit", "inherit"],
  });
  let rss = 0;
  let anonymous = 0;
  const watch = setInterval(() => {
    rss = Math.max(rss, memoryOf(child.pid, "VmHWM"));
    anonymous = Math.max(anonymous, memoryOf(child.pid, "RssAnon"));
  }, 100);
  const code = await new Promise((resolve) => child.on("exit", resolve));
  clearInterval(watch);
  if (code !== 0) throw new Error(`${step} ended with ${code}`);
  return {
    step,
    seconds: seconds(startedAt),
    "peak RSS GiB": gib(rss),
    "peak anonymous GiB": gib(anonymous),
  };
}

/** Bytes, of a line of /proc/<pid>/status; 0 once the process has ended. */
function memoryOf(pid: number | undefined, field: string): number {
  try {
    const [, kib = "0"] =
      new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
    return Number(kib) * 1024;
  } catch {
    return 0;
  }
}

function sizeOf(path: string): number {
  const stat = statSync(path);
  return stat.isDirectory() ? readdirSync(path).reduce((sum, name) => sum + sizeOf(join(path, name)), 0) : stat.size;
}

function gib(bytes: number): number {
  return Number((bytes / GIB).toFixed(2));
}

function seconds(startedAt: number): number {
  return Number(((performance.now() - startedAt) / 1000).toFixed(1));
}
