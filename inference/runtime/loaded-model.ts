/** A built model folder, ready to run: graphs as sessions that open when first needed, and tensors read in place. */
import { closeSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import type { InferenceSession } from "onnxruntime-node";
import { type GraphName, loadManifest, type Manifest, type StoredTensorName, WEIGHTS_FILE } from "../manifest.ts";
import { type Grid, resizePositionTable } from "./position-tables.ts";
import { PreparedGraphs, type PreparedOptions } from "./prepared-graphs.ts";
import { openGraph } from "./session.ts";
import type { Tensor } from "./tensor.ts";

export interface GraphRun {
  readonly graph: GraphName;
  readonly wallMs: number;
  /** CPU time of the whole process meanwhile. */
  readonly cpuMs: number;
}

export interface LoadOptions extends PreparedOptions {
  /** Told of every finished run: for measuring. */
  readonly onRun?: (run: GraphRun) => void;
}

const POSITION_TABLES = {
  encoder: "encoder_positions",
  decoder: "decoder_positions",
  diffusion: "diffusion_positions",
} as const;

export class LoadedModel {
  private readonly sessions = new Map<GraphName, Promise<InferenceSession>>();
  private readonly tensors = new Map<StoredTensorName, Float32Array>();
  private readonly tables = new Map<string, Float32Array>();
  private readonly weights: number;
  /** Undefined where a provider keeps weights in memory of its own. */
  private readonly prepared: PreparedGraphs | undefined;

  private constructor(
    readonly folder: string,
    readonly manifest: Manifest,
    readonly options: LoadOptions,
  ) {
    this.weights = openSync(join(folder, WEIGHTS_FILE), "r");
    this.prepared = options.provider === "cpu" ? new PreparedGraphs(folder, manifest, options) : undefined;
  }

  /** @param manifest the folder's own, unless it is still being built */
  static open(folder: string, options: LoadOptions, manifest: Manifest = loadManifest(folder)): LoadedModel {
    return new LoadedModel(folder, manifest, options);
  }

  /** Runs a graph and returns the results named in `wanted`. Blocks the calling thread while it computes. */
  async run<Name extends string>(
    graph: GraphName,
    feeds: Readonly<Record<string, Tensor>>,
    wanted: readonly Name[],
  ): Promise<Record<Name, Tensor>> {
    const session = await this.session(graph);
    const startedAt = performance.now();
    const cpu = process.cpuUsage();
    const results = await session.run(feeds, wanted);
    if (this.options.onRun !== undefined) {
      const { user, system } = process.cpuUsage(cpu);
      this.options.onRun({ graph, wallMs: performance.now() - startedAt, cpuMs: (user + system) / 1000 });
    }
    return results as Record<Name, Tensor>;
  }

  /** Opens the given graphs now, so that the first generation does not wait for it. */
  async warmUp(graphs: readonly GraphName[]): Promise<void> {
    for (const graph of graphs) await this.session(graph);
  }

  /** A whole stored tensor, kept in memory from the first call on. */
  tensor(name: StoredTensorName): Float32Array {
    const known = this.tensors.get(name);
    if (known !== undefined) return known;
    const { offset, shape } = this.manifest.tensors[name];
    const values = this.read(
      offset,
      shape.reduce((product, dim) => product * dim, 1),
    );
    this.tensors.set(name, values);
    return values;
  }

  /** Embeddings of tokens: [ids, llmWidth]. Read row by row: the table of the real model is 0.9 GB. */
  embed(ids: readonly number[]): Float32Array {
    const { offset, shape } = this.manifest.tensors.token_embeddings;
    const [vocabulary = 0, width = 0] = shape;
    const rows = new Float32Array(ids.length * width);
    for (const [row, id] of ids.entries()) {
      if (id < 0 || id >= vocabulary) throw new RangeError(`token id ${id} is outside the vocabulary of ${vocabulary}`);
      rows.set(this.read(offset + id * width * 4, width), row * width);
    }
    return rows;
  }

  /** A position table for a grid, buffer rows first; resized once per grid. */
  positionTable(kind: keyof typeof POSITION_TABLES, grid: Grid): Float32Array {
    const key = `${kind}:${grid.rows}x${grid.columns}`;
    const known = this.tables.get(key);
    if (known !== undefined) return known;
    const name = POSITION_TABLES[kind];
    const { bufferTokens, nativeGrid } = this.manifest.dimensions;
    const [, width = 0] = this.manifest.tensors[name].shape;
    const leading = kind === "diffusion" ? 0 : bufferTokens;
    const table = resizePositionTable(this.tensor(name), { leading, side: nativeGrid, width }, grid);
    this.tables.set(key, table);
    return table;
  }

  async close(): Promise<void> {
    closeSync(this.weights);
    for (const session of this.sessions.values()) await (await session).release();
    this.sessions.clear();
  }

  private session(graph: GraphName): Promise<InferenceSession> {
    const open = this.sessions.get(graph) ?? this.openSession(graph);
    this.sessions.set(graph, open);
    return open;
  }

  private async openSession(graph: GraphName): Promise<InferenceSession> {
    const { file } = this.manifest.graphs[graph];
    try {
      return (await this.prepared?.open(graph)) ?? (await openGraph(join(this.folder, file), this.options));
    } catch (cause) {
      this.sessions.delete(graph);
      throw new Error(`Cannot load the graph ${file} of ${this.folder}. Build the model again.`, { cause });
    }
  }

  private read(offset: number, count: number): Float32Array {
    const values = new Float32Array(count);
    const bytes = new Uint8Array(values.buffer);
    for (let done = 0; done < bytes.length; ) {
      const got = readSync(this.weights, bytes, done, bytes.length - done, offset + done);
      if (got === 0) throw new Error(`${join(this.folder, WEIGHTS_FILE)} is truncated. Build the model again.`);
      done += got;
    }
    return values;
  }
}
