import { ByteCursor } from "./byte-cursor.ts";
import type { FileReader } from "./file-reader.ts";
import type { PickleValue, StorageReference } from "./pickle-value.ts";
import { listStateDict } from "./state-dict.ts";
import { ELEMENT_BYTES } from "./storage-type.ts";
import type { StoredTensor } from "./stored-tensor.ts";
import { createTorchHost } from "./torch-globals.ts";
import { unpickle } from "./unpickler.ts";

// torch/serialization.py: MAGIC_NUMBER and PROTOCOL_VERSION.
const MAGIC_NUMBER = 0x1950a86a20f9469cfc6cn;
const PROTOCOL_VERSION = 1001;

/**
 * The format of torch.save before PyTorch 1.6: five pickles (magic number, protocol version, facts about the machine,
 * the object, the list of storage keys), then for each key its element count as int64 and its raw elements.
 */
export function readTorchLegacy(file: FileReader): Map<string, StoredTensor> {
  const cursor = new ByteCursor(file, 0, file.sizeBytes);
  const storages = new Map<string, StorageReference>();
  const host = createTorchHost(storages);
  if (unpickle(cursor, host) !== MAGIC_NUMBER) {
    throw file.failure("is a Python pickle, but no PyTorch checkpoint. Save the model's state_dict() with torch.save.");
  }
  const version = unpickle(cursor, host);
  if (version !== PROTOCOL_VERSION) {
    throw file.failure(`has the unknown protocol version ${String(version)}. Save it again with a current PyTorch.`);
  }
  checkByteOrder(file, unpickle(cursor, host));
  const top = unpickle(cursor, host);
  const positions = locateStorages(cursor, unpickle(cursor, host), storages);
  return listStateDict(top, file, (storage) => {
    const position = positions.get(storage.key);
    if (position === undefined) throw file.failure(`lacks storage "${storage.key}" of a tensor. Download it again.`);
    return { position };
  });
}

function checkByteOrder(file: FileReader, machine: PickleValue): void {
  if (machine instanceof Map && machine.get("little_endian") === true) return;
  throw file.failure("stores its numbers in big-endian order. Save it again on a little-endian machine.");
}

/** First byte of every storage's elements; the cursor stands behind the list of keys. */
function locateStorages(
  cursor: ByteCursor,
  keys: PickleValue,
  storages: ReadonlyMap<string, StorageReference>,
): Map<string, number> {
  if (!Array.isArray(keys)) throw cursor.failure("is damaged: it has no list of storages. Download it again.");
  const positions = new Map<string, number>();
  for (const key of keys) {
    const storage = typeof key === "string" ? storages.get(key) : undefined;
    if (storage === undefined)
      throw cursor.failure("is damaged: it lists a storage that no tensor uses. Download it again.");
    const count = cursor.readUnsigned64();
    if (count !== storage.storedCount) {
      throw cursor.failure(
        `is damaged: storage "${storage.key}" has ${count} elements instead of ${storage.storedCount}. Download it again.`,
      );
    }
    positions.set(storage.key, cursor.position);
    cursor.skip(count * ELEMENT_BYTES[storage.type]);
  }
  return positions;
}
