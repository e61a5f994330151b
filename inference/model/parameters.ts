/** The tensors of a checkpoint as parameters of graphs, strictly: nothing missing, misshapen or left over. */
import { type Checkpoint, CheckpointError } from "../checkpoint/checkpoint.ts";
import type { ParameterSource } from "../graph/graph-builder.ts";

export interface TensorSource {
  readonly checkpoint: Checkpoint;
  /** Stands in front of the file's own names: `vae.` for kl16.ckpt, whose `decoder.conv_in.weight` has no prefix. */
  readonly prefix: string;
}

/** A family of tensors that a model legitimately contains and no graph reads. */
export interface SkipRule {
  readonly pattern: RegExp;
  readonly reason: string;
}

export class Parameters implements ParameterSource {
  private readonly used = new Set<string>();
  private readonly totalValues: number;
  private usedValues = 0;

  constructor(
    /** Searched in this order. */
    private readonly sources: readonly TensorSource[],
    private readonly skipRules: readonly SkipRule[],
    /** Told after every tensor which share of all values has been read, 0..1. */
    private readonly onProgress: (share: number) => void = () => {},
  ) {
    this.totalValues = sources.reduce((sum, source) => sum + this.countNeeded(source), 0);
  }

  has(key: string): boolean {
    return this.find(key) !== undefined;
  }

  read(key: string, shape: readonly number[]): Float32Array {
    const { checkpoint, name } = this.locate(key);
    const found = checkpoint.find(name)?.shape ?? [];
    if (found.length !== shape.length || found.some((dim, axis) => dim !== shape[axis])) {
      throw new Error(
        `Tensor "${name}" of ${checkpoint.path} has shape [${found.join(", ")}]; this model needs [${shape.join(", ")}]. ` +
          "The checkpoint belongs to another configuration: check its unipic.json.",
      );
    }
    const isNew = !this.used.has(key);
    this.used.add(key);
    const values = checkpoint.readFloat32(name);
    requireFinite(values, checkpoint, name);
    if (isNew) this.usedValues += values.length;
    this.onProgress(this.usedValues / this.totalValues);
    return values;
  }

  /** Throws unless every tensor of every source was read or is covered by a skip rule. */
  requireAllUsed(): void {
    for (const { checkpoint, prefix } of this.sources) {
      const left = checkpoint.names.filter((name) => !this.used.has(prefix + name) && !this.isSkipped(prefix + name));
      if (left.length === 0) continue;
      const shown = left.slice(0, 5).join(", ") + (left.length > 5 ? ` and ${left.length - 5} more` : "");
      throw new Error(
        `${checkpoint.path} has tensors that this model has no place for: ${shown}. ` +
          "The checkpoint belongs to another architecture or configuration.",
      );
    }
  }

  private countNeeded({ checkpoint, prefix }: TensorSource): number {
    const needed = checkpoint.names.filter((name) => !this.isSkipped(prefix + name));
    return needed.reduce((sum, name) => sum + countValues(checkpoint.find(name)?.shape ?? []), 0);
  }

  private find(key: string): { checkpoint: Checkpoint; name: string } | undefined {
    for (const { checkpoint, prefix } of this.sources) {
      const name = key.slice(prefix.length);
      if (key.startsWith(prefix) && checkpoint.find(name) !== undefined) return { checkpoint, name };
    }
    return undefined;
  }

  private locate(key: string): { checkpoint: Checkpoint; name: string } {
    const found = this.find(key);
    if (found !== undefined) return found;
    const paths = this.sources.map(({ checkpoint }) => checkpoint.path).join(", ");
    throw new Error(
      `Tensor "${key}" is missing; looked in ${paths}. Download the checkpoint again, or check its unipic.json.`,
    );
  }

  private isSkipped(key: string): boolean {
    return this.skipRules.some(({ pattern }) => pattern.test(key));
  }
}

const countValues = (shape: readonly number[]): number => shape.reduce((product, dim) => product * dim, 1);

/** One weight that is NaN or infinite makes the whole picture black. Takes 0.6 to 0.9 s a GB; every() four times that. */
function requireFinite(values: Float32Array, { path }: Checkpoint, name: string): void {
  for (let i = 0; i < values.length; i++) {
    if (Number.isFinite(values[i])) continue;
    throw new CheckpointError(
      `${path}: tensor "${name}" is damaged: its value ${i} is ${values[i]}, and weights must be finite. Download it again.`,
    );
  }
}
