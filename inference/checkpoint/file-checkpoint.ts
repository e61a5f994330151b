import { type Checkpoint, CheckpointError, type TensorEntry } from "./checkpoint.ts";
import type { FileReader } from "./file-reader.ts";
import { readFloat32, type StoredTensor } from "./stored-tensor.ts";

/** The tensors of one open file; it owns the file. */
export class FileCheckpoint implements Checkpoint {
  readonly path: string;
  readonly names: readonly string[];

  constructor(
    private readonly file: FileReader,
    private readonly tensors: ReadonlyMap<string, StoredTensor>,
  ) {
    this.path = file.path;
    this.names = [...tensors.keys()];
  }

  find(name: string): TensorEntry | undefined {
    const tensor = this.tensors.get(name);
    return tensor === undefined ? undefined : { ...tensor.entry, name };
  }

  readFloat32(name: string): Float32Array {
    const tensor = this.tensors.get(name);
    if (tensor === undefined) throw absentTensor(this.path, name);
    return readFloat32(this.file, tensor);
  }

  close(): void {
    this.file.close();
  }
}

export function absentTensor(path: string, name: string): CheckpointError {
  return new CheckpointError(`${path}: has no tensor "${name}". Check that this is the checkpoint of that model.`);
}

/** The tensors whose dotted name starts with `root`, under the rest of their name; all of them without a root. */
export function selectRoot<T>(path: string, tensors: ReadonlyMap<string, T>, root = ""): ReadonlyMap<string, T> {
  if (root === "") return tensors;
  const prefix = `${root}.`;
  const below = [...tensors].filter(([name]) => name.startsWith(prefix));
  if (below.length > 0) return new Map(below.map(([name, tensor]) => [name.slice(prefix.length), tensor]));
  const roots = new Set([...tensors.keys()].map((name) => name.split(".", 1)[0]));
  const found =
    roots.size === 0 ? "it has no tensors at all" : `its tensors are under ${[...roots].slice(0, 8).join(", ")}`;
  throw new CheckpointError(`${path}: has no tensors under "${root}"; ${found}. Give the root that holds them.`);
}
