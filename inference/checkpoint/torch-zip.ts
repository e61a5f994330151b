import { ByteCursor } from "./byte-cursor.ts";
import type { FileReader } from "./file-reader.ts";
import type { StorageReference } from "./pickle-value.ts";
import { listStateDict, type StoragePlace } from "./state-dict.ts";
import { ELEMENT_BYTES } from "./storage-type.ts";
import type { StoredTensor } from "./stored-tensor.ts";
import { createTorchHost } from "./torch-globals.ts";
import { unpickle } from "./unpickler.ts";
import { ZipDirectory, type ZipRecord } from "./zip-directory.ts";

/** The records lie in a folder named after the file that torch.save wrote. */
const PICKLE_RECORD = /^([^/]+\/)data\.pkl$/;
/** "little" or "big". */
const MAX_BYTE_ORDER_BYTES = 16;

/**
 * The zip container of torch.save since PyTorch 1.6: `<folder>/data.pkl` describes the tensors,
 * `<folder>/data/<key>` is a raw storage, `<folder>/byteorder` is absent in older files (always little-endian).
 */
export function readTorchZip(file: FileReader): Map<string, StoredTensor> {
  const directory = ZipDirectory.read(file);
  const folders = directory.names.flatMap((name) => PICKLE_RECORD.exec(name)?.[1] ?? []);
  const [folder] = folders;
  if (folder === undefined || folders.length > 1) {
    throw file.failure(
      "is a zip archive, but no PyTorch checkpoint: it has no data.pkl. Give the file that torch.save wrote.",
    );
  }
  checkByteOrder(file, directory, directory.find(`${folder}byteorder`));
  const pickle = directory.find(`${folder}data.pkl`);
  if (pickle !== undefined) directory.requireIntact(pickle);
  const start = pickle === undefined ? 0 : directory.locate(pickle);
  const top = unpickle(new ByteCursor(file, start, start + (pickle?.sizeBytes ?? 0)), createTorchHost());

  const located = new Map<string, StoragePlace>();
  return listStateDict(top, file, (storage) => {
    const place = located.get(storage.key) ?? locateStorage(file, directory, { folder, storage });
    located.set(storage.key, place);
    return place;
  });
}

function locateStorage(
  file: FileReader,
  directory: ZipDirectory,
  { folder, storage }: { folder: string; storage: StorageReference },
): StoragePlace {
  const name = `${folder}data/${storage.key}`;
  const record = directory.find(name);
  if (record === undefined) throw file.failure(`lacks record "${name}", which holds a tensor. Download it again.`);
  const neededBytes = storage.storedCount * ELEMENT_BYTES[storage.type];
  if (neededBytes > record.sizeBytes) {
    throw file.failure(`record "${name}" has ${record.sizeBytes} bytes instead of ${neededBytes}. Download it again.`);
  }
  return { position: directory.locate(record), requireIntact: () => directory.requireIntact(record) };
}

function checkByteOrder(file: FileReader, directory: ZipDirectory, record: ZipRecord | undefined): void {
  if (record === undefined) return;
  directory.requireIntact(record);
  const length = Math.min(record.sizeBytes, MAX_BYTE_ORDER_BYTES);
  const order = file.readBytes(directory.locate(record), length).toString("latin1").trim();
  if (order === "little") return;
  throw file.failure(
    `stores its numbers in byte order "${order}"; only "little" is supported. Save it again on a little-endian machine.`,
  );
}
