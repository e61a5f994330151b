import type { StorageType } from "./checkpoint.ts";
import type { FileReader } from "./file-reader.ts";
import { ELEMENT_BYTES } from "./storage-type.ts";
import { countElements, rowMajorStrides, type StoredTensor } from "./stored-tensor.ts";

/** The limit of the reference implementation (safetensors, MAX_HEADER_SIZE). */
const MAX_HEADER_BYTES = 100_000_000;
const LENGTH_BYTES = 8;

/** A tensor of the header, with the bytes it takes of the data that follows the header. */
interface HeaderTensor {
  readonly name: string;
  readonly type: StorageType;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

/**
 * The safetensors format: header length as u64, a JSON header {name: {dtype, shape, data_offsets}}, then the tensors,
 * row-major and without gaps.
 */
export function readSafetensors(file: FileReader): Map<string, StoredTensor> {
  const headerBytes = readHeaderLength(file);
  const dataPosition = LENGTH_BYTES + headerBytes;
  const tensors = parseHeader(file, file.readBytes(LENGTH_BYTES, headerBytes));
  tensors.sort((a, b) => a.begin - b.begin || a.end - b.end);
  checkLayout(file, tensors, file.sizeBytes - dataPosition);
  return new Map(
    tensors.map(({ name, type, shape, begin }) => [
      name,
      { entry: { name, type, shape }, strides: rowMajorStrides(shape), position: dataPosition + begin },
    ]),
  );
}

function readHeaderLength(file: FileReader): number {
  const length = file.readBytes(0, LENGTH_BYTES).readBigUInt64LE();
  if (length > MAX_HEADER_BYTES) {
    throw file.failure(`claims a safetensors header of ${length} bytes; at most ${MAX_HEADER_BYTES} are allowed.`);
  }
  return Number(length);
}

function parseHeader(file: FileReader, bytes: Uint8Array): HeaderTensor[] {
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw file.failure("has a safetensors header that is no JSON: it is damaged. Download it again.", cause);
  }
  if (!isRecord(header)) throw file.failure("has a safetensors header that is no JSON object. Download it again.");
  return Object.entries(header).flatMap(([name, value]) =>
    name === "__metadata__" ? [] : parseTensor(file, name, value),
  );
}

function parseTensor(file: FileReader, name: string, value: unknown): HeaderTensor {
  const { dtype, shape, data_offsets: offsets }: Record<string, unknown> = isRecord(value) ? value : {};
  if (typeof dtype !== "string" || !isCounts(shape) || !isCounts(offsets)) {
    throw file.failure(`tensor "${name}" has no proper dtype, shape or data_offsets. Download it again.`);
  }
  if (!isStorageType(dtype)) {
    const supported = Object.keys(ELEMENT_BYTES).join(", ");
    throw file.failure(`tensor "${name}" has dtype ${dtype}; supported are ${supported}. Convert it first.`);
  }
  const [begin = 0, end = 0] = offsets;
  const neededBytes = countElements(shape) * ELEMENT_BYTES[dtype];
  if (offsets.length !== 2 || end - begin !== neededBytes) {
    throw file.failure(
      `tensor "${name}" of shape [${shape.join(", ")}] and dtype ${dtype} needs ${neededBytes} bytes, ` +
        `but its data_offsets are [${offsets.join(", ")}]. Download it again.`,
    );
  }
  return { name, type: dtype, shape, begin, end };
}

/** The format allows neither overlaps nor gaps; `tensors` are in the order of their bytes. */
function checkLayout(file: FileReader, tensors: readonly HeaderTensor[], dataBytes: number): void {
  let next = 0;
  for (const { name, begin, end } of tensors) {
    if (end > dataBytes) {
      throw file.failure(
        `is truncated or damaged: tensor "${name}" ends at byte ${end} of the data, which has ${dataBytes}. Download it again.`,
      );
    }
    if (begin < next) throw file.failure(`tensor "${name}" overlaps another one: it is damaged. Download it again.`);
    if (begin > next) throw file.failure(`has a gap before tensor "${name}": it is damaged. Download it again.`);
    next = end;
  }
  if (next < dataBytes) throw file.failure(`has ${dataBytes - next} bytes after its last tensor. Download it again.`);
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const isCounts = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && item >= 0);

const isStorageType = (dtype: string): dtype is StorageType => Object.hasOwn(ELEMENT_BYTES, dtype);
