/**
 * Copies of a model's graphs that are prepared for this processor. When ONNX Runtime opens a graph, it packs the weights
 * of products into memory of its own, as large as the weights, that no other process can share. A prepared copy holds
 * the packed weights in a file that every process maps: anonymous memory after two pictures falls from 0.92 of the weights
 * to 0.18 (bench/memory.ts). ONNX Runtime uses a stored packing only where it equals its own, weight by weight.
 *
 *     <model folder>/prepared/onnxruntime-<version>-<digest of the model>/<processor>/<graph>/
 */
import { createHash } from "node:crypto";
import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { cpus } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { env, type InferenceSession } from "onnxruntime-node";
import { z } from "zod";
import { type Dtype, type GraphName, type Manifest, WEIGHTS_FILE } from "../manifest.ts";
import {
  isBeingMadeElsewhere,
  makeUnfinishedFolder,
  removeUnfinishedFolder,
  replaceFolder,
} from "../unfinished-folder.ts";
import { type Execution, openGraph } from "./session.ts";

const PREPARED_FOLDER = "prepared";
const GRAPH_FILE = "graph.onnx";
/** Written last: a copy without it is none. */
const RECORD_FILE = "complete.json";

const recordSchema = z.object({ graphSha256: z.string(), weightsBytes: z.number() });
type CopyRecord = z.infer<typeof recordSchema>;

/** Disk that all copies of a model take, over that of its weights. Weights of 16 bits are computed, and stored, in fp32. */
const DISK_FACTORS: Readonly<{ [dtype in Dtype]: number }> = { float32: 2.1, int8: 2.1, float16: 4.2, bfloat16: 4.2 };

/** Initializers from this size on are mapped from the file beside the graph. */
const MIN_MAPPED_BYTES = 1024;
const POLL_MS = 200;
/** Longer than the largest graph takes: who then still seems to make a copy has died, and another process has its id. */
const PATIENCE_MS = 10 * 60_000;

export interface PreparedOptions extends Execution {
  /** Makes the copies that are missing. Otherwise only what is there is used. */
  readonly prepares?: boolean;
  /** Told in words what an operator should know: that a copy is made, or why there is none. */
  readonly onNotice?: (notice: string) => void;
}

export class PreparedGraphs {
  private readonly folder: string;
  private canMake: boolean;

  constructor(
    private readonly modelFolder: string,
    private readonly manifest: Pick<Manifest, "digest" | "dtype" | "graphs">,
    private readonly options: PreparedOptions,
  ) {
    this.folder = join(modelFolder, PREPARED_FOLDER, runtimeName(manifest), processorName());
    this.canMake = options.prepares === true;
  }

  /** A session of the prepared copy; undefined where there is none and none can be made. Never fails: the graph itself still works. */
  async open(graph: GraphName): Promise<InferenceSession | undefined> {
    if (!isPreparable(graph, this.manifest.dtype)) return undefined;
    const copy = await this.openCopy(graph);
    if (copy !== undefined || !this.canMake) return copy;
    try {
      return (await this.awaitCopy(graph)) ?? (await this.make(graph));
    } catch (error) {
      this.canMake = false;
      const reason = error instanceof Error ? error.message : String(error);
      this.notice(
        `Graphs of ${this.modelFolder} cannot be prepared for this processor: ${reason} This process keeps packed weights in memory of its own.`,
      );
      return undefined;
    }
  }

  private async openCopy(graph: GraphName): Promise<InferenceSession | undefined> {
    const copy = join(this.folder, graph);
    if (!existsSync(copy)) return undefined;
    try {
      requireIntact(copy);
      return await this.openPrepared(copy);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.notice(`The prepared copy ${copy} is not used: ${reason}`);
      return undefined;
    }
  }

  /** The copy that another process is making, when it is done. */
  private async awaitCopy(graph: GraphName): Promise<InferenceSession | undefined> {
    const copy = join(this.folder, graph);
    const startedAt = performance.now();
    if (!isBeingMadeElsewhere(copy)) return undefined;
    while (isBeingMadeElsewhere(copy) && performance.now() - startedAt < PATIENCE_MS) await setTimeout(POLL_MS);
    return this.openCopy(graph);
  }

  private async make(graph: GraphName): Promise<InferenceSession> {
    const copy = join(this.folder, graph);
    if (!existsSync(this.folder)) this.startFolder();
    const unfinished = makeUnfinishedFolder(copy);
    try {
      const packing = await openGraph(join(this.modelFolder, this.manifest.graphs[graph].file), this.options, {
        optimizedModelFilePath: join(unfinished, GRAPH_FILE),
        session: {
          optimized_model_external_initializers_file_name: WEIGHTS_FILE,
          optimized_model_external_initializers_min_size_in_bytes: String(MIN_MAPPED_BYTES),
          save_external_prepacked_constant_initializers: "1",
        },
      });
      await packing.release();
      const session = await this.openPrepared(unfinished); // fails where the disk was full
      writeRecord(unfinished);
      replaceFolder(copy, unfinished);
      return session;
    } finally {
      removeUnfinishedFolder(unfinished);
    }
  }

  /** Copies for another version of the model or of ONNX Runtime serve nobody any more; those of other processors may. */
  private startFolder(): void {
    const versions = join(this.modelFolder, PREPARED_FOLDER);
    const current = dirname(this.folder);
    for (const name of existsSync(versions) ? readdirSync(versions) : []) {
      if (join(versions, name) !== current) rmSync(join(versions, name), { recursive: true, force: true });
    }
    const { bavail, bsize } = statfsSync(this.modelFolder);
    const needed = statSync(join(this.modelFolder, WEIGHTS_FILE)).size * DISK_FACTORS[this.manifest.dtype];
    if (bavail * bsize < needed)
      throw new Error(`They need ${gigabytes(needed)} of disk, and ${gigabytes(bavail * bsize)} are free.`);
    this.notice(`Preparing the graphs of ${this.modelFolder} for this processor, once: ${gigabytes(needed)} of disk.`);
  }

  /** It has been optimised when it was made. */
  private openPrepared(copy: string): Promise<InferenceSession> {
    return openGraph(join(copy, GRAPH_FILE), this.options, { graphOptimizationLevel: "disabled" });
  }

  private notice(notice: string): void {
    this.options.onNotice?.(notice);
  }
}

/** ONNX Runtime 1.30 writes the weights of the loop in this graph twice, once within it, and then refuses the file. */
const isPreparable = (graph: GraphName, dtype: Dtype): boolean => !(graph === "diffusion-head" && dtype === "bfloat16");

const runtimeName = ({ digest }: Pick<Manifest, "digest">): string =>
  `onnxruntime-${env.versions.node ?? env.versions.common}-${digest.slice(0, 12)}`;

/** By its instruction sets, on which the order of packed weights depends; by its model where the system does not list them. */
function processorName(): string {
  const [, features = cpus()[0]?.model ?? ""] =
    (existsSync(CPU_FILE) ? /^(?:flags|Features)\s*: (.*)$/m.exec(readFileSync(CPU_FILE, "utf8")) : null) ?? [];
  return `${process.platform}-${process.arch}-${sha256(features).slice(0, 12)}`;
}
const CPU_FILE = "/proc/cpuinfo";

/** Finds what a crash or a full disk leaves behind. Reading all of the weights would take longer than packing them. */
function requireIntact(copy: string): void {
  const record = readRecord(copy);
  const found = describe(copy);
  if (record.graphSha256 !== found.graphSha256 || record.weightsBytes !== found.weightsBytes) {
    throw new Error("its files are not those that were written.");
  }
}

function readRecord(copy: string): CopyRecord {
  try {
    return recordSchema.parse(JSON.parse(readFileSync(join(copy, RECORD_FILE), "utf8")));
  } catch (cause) {
    throw new Error(`its ${RECORD_FILE} is missing or damaged.`, { cause });
  }
}

const describe = (copy: string): CopyRecord => ({
  graphSha256: sha256(readFileSync(join(copy, GRAPH_FILE))),
  // A graph of small weights only has no file beside it.
  weightsBytes: statSync(join(copy, WEIGHTS_FILE), { throwIfNoEntry: false })?.size ?? 0,
});

/** On disk before the record says so: a machine may lose its power. */
function writeRecord(copy: string): void {
  for (const name of readdirSync(copy)) flush(join(copy, name));
  writeFileSync(join(copy, RECORD_FILE), JSON.stringify(describe(copy)));
  flush(join(copy, RECORD_FILE));
}

function flush(file: string): void {
  const fd = openSync(file, "r+");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

const sha256 = (content: string | Uint8Array): string => createHash("sha256").update(content).digest("hex");

const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(1)} GB`;
