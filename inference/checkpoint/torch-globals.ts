import type { StorageType } from "./checkpoint.ts";
import type { PickleHost } from "./pickle-machine.ts";
import {
  isCount,
  isGlobal,
  isStorage,
  type PickleGlobal,
  type PickleValue,
  type StorageReference,
} from "./pickle-value.ts";

/** torch itself allows 64 dimensions. */
const MAX_DIMENSIONS = 64;

const STORAGE_CLASSES: Readonly<Record<string, StorageType>> = {
  DoubleStorage: "F64",
  FloatStorage: "F32",
  HalfStorage: "F16",
  BFloat16Storage: "BF16",
  LongStorage: "I64",
  IntStorage: "I32",
  ShortStorage: "I16",
  CharStorage: "I8",
  ByteStorage: "U8",
  BoolStorage: "BOOL",
  UntypedStorage: "U8",
};

/** Dtypes are mere values: they appear beside the tensors, in a saved configuration. */
const DTYPES = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"];

/** The closed list: every global that a checkpoint may name. */
const ALLOWED: ReadonlyMap<string, PickleGlobal> = new Map(
  [
    callable("collections.OrderedDict", createOrderedDict),
    callable("torch.Size", ([sizes, ...rest]) => (rest.length === 0 && Array.isArray(sizes) ? sizes : undefined)),
    callable("torch._utils._rebuild_tensor", rebuildTensor),
    callable("torch._utils._rebuild_tensor_v2", rebuildTensor),
    callable("torch._utils._rebuild_parameter", ([tensor]) => tensor),
    callable("torch._utils._rebuild_parameter_with_state", ([tensor]) => tensor),
    ...Object.entries(STORAGE_CLASSES).map(([name, type]) => storageClass(`torch.${name}`, type)),
    storageClass("torch.storage.UntypedStorage", "U8"),
    ...DTYPES.map((name): PickleGlobal => ({ kind: "global", name: `torch.${name}` })),
  ].map((allowed) => [allowed.name, allowed]),
);

/** Host of a torch pickle; `storages` collects each storage by key, as the legacy format needs them. */
export function createTorchHost(storages = new Map<string, StorageReference>()): PickleHost {
  return {
    findGlobal: (name) => ALLOWED.get(name),
    findPersistent: (id) => {
      const storage = parseStorageId(id);
      if (storage === undefined) return undefined;
      const known = storages.get(storage.key);
      if (known === undefined) storages.set(storage.key, storage);
      else if (known.type !== storage.type || known.storedCount !== storage.storedCount) return undefined;
      return storage;
    },
  };
}

/**
 * Persistent id of torch.save: ("storage", storage class, key, device, element count), in the legacy format followed by
 * None or (key of the view, first element, element count).
 */
function parseStorageId(id: PickleValue): StorageReference | undefined {
  if (!Array.isArray(id) || id[0] !== "storage" || id.length < 5 || id.length > 6) return undefined;
  const [, storageClass, key, , storedCount, view = null] = id;
  if (!isGlobal(storageClass) || storageClass.storageType === undefined) return undefined;
  if (typeof key !== "string" || !isCount(storedCount)) return undefined;
  const whole: StorageReference = {
    kind: "storage",
    key,
    type: storageClass.storageType,
    storedCount,
    start: 0,
    count: storedCount,
  };
  if (view === null) return whole;
  const [, start, count] = Array.isArray(view) && view.length === 3 ? view : [];
  if (!isCount(start) || !isCount(count) || start + count > storedCount) return undefined;
  return { ...whole, start, count };
}

/** _rebuild_tensor(storage, offset, shape, strides), v2 followed by requires_grad, hooks, metadata. */
function rebuildTensor([storage, offset, shape, strides]: readonly PickleValue[]): PickleValue | undefined {
  if (!isStorage(storage) || !isCount(offset) || !isCounts(shape) || !isCounts(strides)) return undefined;
  if (shape.length !== strides.length || shape.length > MAX_DIMENSIONS) return undefined;
  return { kind: "tensor", storage, offset, shape: [...shape], strides: [...strides] };
}

/** Without arguments; pickles of Python 2 pass a list of [key, value] pairs. */
function createOrderedDict([pairs = [], ...rest]: readonly PickleValue[]): PickleValue | undefined {
  if (rest.length > 0 || !Array.isArray(pairs)) return undefined;
  const dict = new Map<PickleValue, PickleValue>();
  for (const pair of pairs) {
    if (!Array.isArray(pair) || pair.length !== 2) return undefined;
    dict.set(pair[0] ?? null, pair[1] ?? null);
  }
  return dict;
}

const isCounts = (value: PickleValue | undefined): value is number[] => Array.isArray(value) && value.every(isCount);

function callable(name: string, call: NonNullable<PickleGlobal["call"]>): PickleGlobal {
  return { kind: "global", name, call };
}

function storageClass(name: string, storageType: StorageType): PickleGlobal {
  return { kind: "global", name, storageType };
}
