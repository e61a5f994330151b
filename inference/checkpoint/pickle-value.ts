import type { StorageType } from "./checkpoint.ts";

/**
 * What a checkpoint's pickle can hold. Lists, tuples and sets are arrays; dicts are Maps, so that no key
 * (`__proto__`) means anything to JavaScript. Values may refer to themselves.
 */
export type PickleValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | PickleValue[]
  | Map<PickleValue, PickleValue>
  | PickleGlobal
  | StorageReference
  | TensorReference;

/** An importable Python name from the allow-list (torch-globals.ts). */
export interface PickleGlobal {
  readonly kind: "global";
  readonly name: string;
  /** Element type, where this is a storage class. */
  readonly storageType?: StorageType;
  /** Stands in for calling it: undefined when it does not take these arguments. Absent where it must not be called. */
  readonly call?: (args: readonly PickleValue[]) => PickleValue | undefined;
}

/** A storage, or a part of one, whose bytes lie outside the pickle. Counts are elements. */
export interface StorageReference {
  readonly kind: "storage";
  readonly key: string;
  readonly type: StorageType;
  /** Elements of the whole storage. */
  readonly storedCount: number;
  /** First element of the part: above 0 only in the legacy format. */
  readonly start: number;
  readonly count: number;
}

export interface TensorReference {
  readonly kind: "tensor";
  readonly storage: StorageReference;
  readonly offset: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
}

const hasKind = (value: PickleValue | undefined): value is PickleGlobal | StorageReference | TensorReference =>
  typeof value === "object" && value !== null && "kind" in value;

export const isGlobal = (value: PickleValue | undefined): value is PickleGlobal =>
  hasKind(value) && value.kind === "global";

export const isStorage = (value: PickleValue | undefined): value is StorageReference =>
  hasKind(value) && value.kind === "storage";

export const isTensor = (value: PickleValue | undefined): value is TensorReference =>
  hasKind(value) && value.kind === "tensor";

export const isCount = (value: PickleValue | undefined): value is number =>
  typeof value === "number" && Number.isSafeInteger(value) && value >= 0;

/** Names a value in an error message. */
export function describe(value: PickleValue | undefined): string {
  if (value === null || value === undefined) return "None";
  if (typeof value !== "object") return `a ${typeof value}`;
  if (value instanceof Map) return "a dict";
  if (Array.isArray(value)) return "a list";
  if (value instanceof Uint8Array) return "bytes";
  return value.kind === "global" ? value.name : `a ${value.kind}`;
}
