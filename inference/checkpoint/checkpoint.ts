/** Element type of a stored tensor, in the words of safetensors. */
export type StorageType = "F64" | "F32" | "F16" | "BF16" | "I64" | "I32" | "I16" | "I8" | "U8" | "BOOL";

export interface TensorEntry {
  readonly name: string;
  readonly type: StorageType;
  readonly shape: readonly number[];
}

/** Tensors of one checkpoint, read one at a time: opening it reads names and shapes only. */
export interface Checkpoint {
  readonly path: string;
  /** Every tensor, in file order. */
  readonly names: readonly string[];
  find(name: string): TensorEntry | undefined;
  /**
   * A contiguous row-major copy as fp32: bf16 and f16 exactly, f64 rounded, integers and booleans as numbers.
   * Throws CheckpointError when there is no such tensor.
   */
  readFloat32(name: string): Float32Array;
  close(): void;
}

/** Why a checkpoint cannot be used: what is wrong, with which file or tensor, and what to do about it. */
export class CheckpointError extends Error {
  override readonly name = "CheckpointError";
}
