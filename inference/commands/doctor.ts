/** `model doctor`: what this machine can do, and why not more. */
import { readFileSync, statfsSync, statSync } from "node:fs";
import { availableParallelism, cpus, freemem, totalmem } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { checkModelNumbers } from "../doctor/model-numbers.ts";
import { loadManifest, WEIGHTS_FILE } from "../manifest.ts";
import { findProviderProblem, PROVIDERS } from "../runtime/provider.ts";
import { threadsFor } from "../runtime/threads.ts";

/** That of package.json. */
const NODE_NEEDED = [20, 19] as const;
const GIB = 1024 ** 3;
/** Instructions that make the kernels of ONNX Runtime faster, as /proc/cpuinfo names them. */
const INSTRUCTIONS = ["avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8"];

export const doctorCommand = (): Command =>
  new Command("doctor")
    .description("say what this machine can do and why not more; ends with 1 where something cannot work")
    .option(
      "--model <model folder>",
      "also run one prompt through every graph of a built model and look at its numbers",
    )
    .action(diagnose);

async function diagnose({ model }: { readonly model?: string }): Promise<void> {
  const say = (mark: "ok" | "note" | "FAIL", topic: string, words: string): void => {
    if (mark === "FAIL") process.exitCode = 1;
    console.log(`${mark.padEnd(5)}${topic.padEnd(10)}${words}`);
  };
  sayNode(say);
  sayProcessor(say);
  sayMemory(say, model);
  const { bavail, bsize } = statfsSync(model ?? ".");
  say("ok", "disk", `${gib(bavail * bsize)} GiB free; the published checkpoint and its fp32 build take about 17`);
  for (const provider of PROVIDERS) {
    const problem = await findProviderProblem(provider);
    if (problem === undefined) say("ok", provider, "computes");
    else say(provider === "cpu" ? "FAIL" : "note", provider, problem);
  }
  if (model !== undefined) await sayModel(say, model);
}

type Say = (mark: "ok" | "note" | "FAIL", topic: string, words: string) => void;

function sayNode(say: Say): void {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  const isNew = major > NODE_NEEDED[0] || (major === NODE_NEEDED[0] && minor >= NODE_NEEDED[1]);
  say(isNew ? "ok" : "FAIL", "node", `${process.version}${isNew ? "" : `; install ${NODE_NEEDED.join(".")} or newer`}`);
}

function sayProcessor(say: Say): void {
  const list = /^flags\s*:(.*)$/m.exec(readIfThere("/proc/cpuinfo"))?.[1]?.trim().split(" ");
  const found = INSTRUCTIONS.filter((name) => list?.includes(name));
  const has = list === undefined ? "instructions unknown" : found.join(", ") || "no AVX2: everything is slow";
  say("ok", "cpu", `${cpus()[0]?.model.trim() ?? process.arch}: ${has}`);
  if (list !== undefined && !found.some((name) => /vnni|amx/.test(name)))
    say("note", "int8", "without VNNI int8 is computed by AVX2, with weights of 7 bits");
  const [quota, period] = readIfThere("/sys/fs/cgroup/cpu.max").trim().split(" ").map(Number);
  say("ok", "threads", `${availableParallelism()} processors`);
  if (quota && period && quota / period < availableParallelism())
    say("note", "threads", `this container may use ${(quota / period).toFixed(1)} of them: give as many --threads`);
}

/** Resident memory of a run was about the weights' size: each session keeps its own packed copy, and drops the file's. */
function sayMemory(say: Say, model: string | undefined): void {
  const limit = Number(readIfThere("/sys/fs/cgroup/memory.max")) || totalmem();
  const available = Number(/^MemAvailable:\s+(\d+)/m.exec(readIfThere("/proc/meminfo"))?.[1] ?? 0) * 1024 || freemem();
  const most = Math.min(limit, totalmem());
  say("ok", "memory", `${gib(available)} GiB available of ${gib(most)}`);
  if (model === undefined) return;
  const needed = (statSync(join(model, WEIGHTS_FILE), { throwIfNoEntry: false })?.size ?? 0) + GIB;
  if (needed > most) say("FAIL", "memory", `this model needs about ${gib(needed)} GiB: build it with --dtype int8`);
  else if (needed > available)
    say("note", "memory", `this model needs about ${gib(needed)} GiB: end other programs first`);
}

async function sayModel(say: Say, folder: string): Promise<void> {
  try {
    const { preset, dtype } = loadManifest(folder);
    const threads = threadsFor(folder);
    const { graphs, tensors, beyondFp16: large } = await checkModelNumbers(folder, { provider: "cpu", threads });
    say(
      "ok",
      "model",
      `${preset}, ${dtype}: ${tensors} tensors of ${graphs.length} graphs are finite (${threads} threads)`,
    );
    if (large !== undefined)
      say(
        "note",
        "model",
        `${large.value} in ${large.graph}, ${large.tensor} would be near or beyond the limit of fp16`,
      );
  } catch (error) {
    say("FAIL", "model", error instanceof Error ? error.message : String(error));
  }
}

/** Only Linux has these files. */
function readIfThere(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}

const gib = (bytes: number): string => (bytes / GIB).toFixed(1);
