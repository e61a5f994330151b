import type { FileReader } from "./file-reader.ts";
import { describe, isTensor, type PickleValue, type StorageReference, type TensorReference } from "./pickle-value.ts";
import { ELEMENT_BYTES } from "./storage-type.ts";
import { type StoredTensor, spanOf } from "./stored-tensor.ts";

/** Entries visited plus characters of their names: a dict can contain itself, and a few that share each other have endless paths. */
const MAX_WORK = 2 ** 24;

/** A whole storage in the file. */
export interface StoragePlace {
  /** Its first byte. */
  readonly position: number;
  readonly requireIntact?: () => void;
}

/** Finds a storage, and checks that all its elements are there. */
type LocateStorage = (storage: StorageReference) => StoragePlace;

/** The tensors of a torch object by dotted name, in the order of the dicts; everything else in it is passed over. */
export function listStateDict(top: PickleValue, file: FileReader, locate: LocateStorage): Map<string, StoredTensor> {
  const tensors = new Map<string, StoredTensor>();
  for (const [name, tensor] of walkTensors(top, file)) {
    if (tensors.has(name)) throw file.failure(`holds two tensors of the name "${name}". Rename one of them.`);
    tensors.set(name, storeTensor(name, tensor, { file, locate }));
  }
  return tensors;
}

/** Depth first without recursion: the nesting is the file's. */
function* walkTensors(top: PickleValue, file: FileReader): Generator<[string, TensorReference]> {
  if (!(top instanceof Map)) {
    throw file.failure(`holds ${describe(top)} instead of a dict of tensors. Save a state_dict() in it.`);
  }
  const levels = [{ prefix: "", entries: top.entries() }];
  let work = 0;
  for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
    const next = level.entries.next();
    if (next.done === true) {
      levels.pop();
      continue;
    }
    const [key, value] = next.value;
    const name = level.prefix + nameOf(key);
    work += 1 + name.length;
    if (work > MAX_WORK) throw file.failure("nests its dicts without end. Download it again.");
    if (isTensor(value)) yield [name, value];
    else if (value instanceof Map) levels.push({ prefix: `${name}.`, entries: value.entries() });
  }
}

/** Keys are text, or numbers (the state of an optimizer). */
function nameOf(key: PickleValue): string {
  return typeof key === "object" ? describe(key) : String(key);
}

function storeTensor(
  name: string,
  tensor: TensorReference,
  { file, locate }: { file: FileReader; locate: LocateStorage },
): StoredTensor {
  const { storage, offset, shape, strides } = tensor;
  const span = spanOf(shape, strides);
  if (span > 0 && offset + span > storage.count) {
    throw file.failure(
      `tensor "${name}" needs elements ${offset} to ${offset + span} of a storage that has ${storage.count}: ` +
        "the file is damaged. Download it again.",
    );
  }
  const place = locate(storage);
  const position = place.position + (storage.start + offset) * ELEMENT_BYTES[storage.type];
  return { ...place, entry: { name, type: storage.type, shape }, strides, position };
}
