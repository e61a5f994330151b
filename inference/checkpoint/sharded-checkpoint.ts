import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { type Checkpoint, CheckpointError, type TensorEntry } from "./checkpoint.ts";
import { absentTensor, selectRoot } from "./file-checkpoint.ts";

/** A tensor of a sharded checkpoint: the file that holds it, and its name there. */
interface ShardTensor {
  readonly file: string;
  readonly name: string;
}

interface ShardOptions {
  readonly root?: string | undefined;
  readonly openShard: (path: string) => Checkpoint;
}

/** Many files as one checkpoint. A shard is opened when one of its tensors is asked for, and stays open. */
export class ShardedCheckpoint implements Checkpoint {
  readonly names: readonly string[];
  private readonly shards = new Map<string, Checkpoint>();
  private isClosed = false;

  private constructor(
    readonly path: string,
    private readonly tensors: ReadonlyMap<string, ShardTensor>,
    private readonly openShard: ShardOptions["openShard"],
  ) {
    this.names = [...tensors.keys()];
  }

  /** @param weightMap of the index file at `path`: tensor name to the name of a file beside it. */
  static open(
    path: string,
    weightMap: ReadonlyMap<string, unknown>,
    { root, openShard }: ShardOptions,
  ): ShardedCheckpoint {
    const tensors = new Map<string, ShardTensor>();
    for (const [name, file] of weightMap) {
      if (!isPlainName(file)) {
        throw new CheckpointError(
          `${path}: tensor "${name}" lies in ${JSON.stringify(file)}; shards must be plain file names beside the index.`,
        );
      }
      tensors.set(name, { file, name });
    }
    const missing = [...new Set([...tensors.values()].map(({ file }) => file))].filter(
      (file) => !existsSync(join(dirname(path), file)),
    );
    if (missing.length > 0) {
      throw new CheckpointError(`${path}: needs files that are not beside it: ${missing.join(", ")}. Download them.`);
    }
    return new ShardedCheckpoint(path, selectRoot(path, tensors, root), openShard);
  }

  find(name: string): TensorEntry | undefined {
    const tensor = this.tensors.get(name);
    if (tensor === undefined) return undefined;
    const entry = this.getShard(tensor.file).find(tensor.name);
    if (entry === undefined) throw absentTensor(join(dirname(this.path), tensor.file), tensor.name);
    return { ...entry, name };
  }

  readFloat32(name: string): Float32Array {
    const tensor = this.tensors.get(name);
    if (tensor === undefined) throw absentTensor(this.path, name);
    return this.getShard(tensor.file).readFloat32(tensor.name);
  }

  close(): void {
    this.isClosed = true;
    for (const shard of this.shards.values()) shard.close();
    this.shards.clear();
  }

  private getShard(file: string): Checkpoint {
    if (this.isClosed) throw new CheckpointError(`${this.path}: is closed already. Open it again.`);
    const shard = this.shards.get(file) ?? this.openShard(join(dirname(this.path), file));
    this.shards.set(file, shard);
    return shard;
  }
}

/** A name that cannot leave the folder of the index, on any system. */
const isPlainName = (file: unknown): file is string =>
  typeof file === "string" && /^[^/\\:\0]+$/.test(file) && file !== "." && file !== "..";
