import type { Checkpoint } from "./checkpoint.ts";
import { FileCheckpoint, selectRoot } from "./file-checkpoint.ts";
import { FileReader } from "./file-reader.ts";
import { readSafetensors } from "./safetensors.ts";
import { ShardedCheckpoint } from "./sharded-checkpoint.ts";
import type { StoredTensor } from "./stored-tensor.ts";
import { readTorchLegacy } from "./torch-legacy.ts";
import { readTorchZip } from "./torch-zip.ts";

interface CheckpointOptions {
  /** Dotted path of the dict that holds the tensors, for example "model"; dicts nested in it give dotted names. */
  readonly root?: string;
}

type Format = "torch-zip" | "torch-legacy" | "safetensors" | "json";

const HEAD_BYTES = 512;
const LFS_POINTER = "version https://git-lfs";
/** The local header of a first record; the end record, where the archive is empty. */
const ZIP_SIGNATURES = ["PK\x03\x04", "PK\x05\x06"];
/** Safetensors start with the length of their header as u64, then the header, a JSON object. */
const HEADER_START = 8;
const OPEN_BRACE = 0x7b;
/** PROTO, the first opcode of every pickle since protocol 2. */
const PICKLE_PROTO = 0x80;
/** An index has about 100 bytes a tensor. */
const MAX_INDEX_BYTES = 64 * 1024 * 1024;
const MAX_EXCERPT = 80;

/**
 * Opens a checkpoint file of any supported format, recognised by its content: the zip and the legacy format of
 * torch.save, safetensors, and the JSON index of a checkpoint in several files. Nothing in it is executed.
 */
export function openCheckpoint(path: string, { root }: CheckpointOptions = {}): Checkpoint {
  const file = FileReader.open(path);
  try {
    const format = recogniseFormat(file);
    if (format !== "json") return new FileCheckpoint(file, selectRoot(path, readTensors(file, format), root));
    const weightMap = readWeightMap(file);
    file.close();
    return ShardedCheckpoint.open(path, weightMap, { root, openShard });
  } catch (error) {
    file.close();
    throw error;
  }
}

/** Like openCheckpoint, but an index within an index is an error. */
function openShard(path: string): Checkpoint {
  const file = FileReader.open(path);
  try {
    const format = recogniseFormat(file);
    if (format === "json") throw file.failure("is a JSON text, but the index lists it as a file of tensors.");
    return new FileCheckpoint(file, readTensors(file, format));
  } catch (error) {
    file.close();
    throw error;
  }
}

function readTensors(file: FileReader, format: Exclude<Format, "json">): Map<string, StoredTensor> {
  switch (format) {
    case "torch-zip":
      return readTorchZip(file);
    case "torch-legacy":
      return readTorchLegacy(file);
    case "safetensors":
      return readSafetensors(file);
  }
}

function recogniseFormat(file: FileReader): Format {
  if (file.sizeBytes === 0) throw file.failure("is empty. Download it again.");
  const head = file.readBytes(0, Math.min(HEAD_BYTES, file.sizeBytes));
  // Safetensors come first: the length of their header can look like the start of anything.
  if (head[HEADER_START] === OPEN_BRACE && head.subarray(4, HEADER_START).every((byte) => byte === 0))
    return "safetensors";
  if (ZIP_SIGNATURES.includes(head.toString("latin1", 0, 4))) return "torch-zip";
  if (head[0] === PICKLE_PROTO) return "torch-legacy";
  const text = head.includes(0) ? "" : head.toString("utf8");
  checkText(file, text);
  if (/^[\ufeff\s]*[[{]/.test(text)) return "json";
  if (head[HEADER_START] === OPEN_BRACE) return "safetensors"; // with an impossible header length, for that error
  throw file.failure(
    "is no checkpoint in a known format: PyTorch (zip or legacy), safetensors, or the JSON index of several files.",
  );
}

/** What a failed download leaves in place of the file. */
function checkText(file: FileReader, text: string): void {
  if (text.startsWith(LFS_POINTER)) {
    throw file.failure('is a Git LFS pointer, not the checkpoint itself. Run "git lfs pull", or download the file.');
  }
  if (/^[\ufeff\s]*</.test(text)) {
    throw file.failure(`is an HTML or XML page, not a checkpoint: ${excerpt(text)}. The download failed; repeat it.`);
  }
}

/** Tensor name to file name, as the index has them; their values are still to be checked. */
function readWeightMap(file: FileReader): Map<string, unknown> {
  if (file.sizeBytes > MAX_INDEX_BYTES) throw file.failure("is a JSON text too large for an index of tensors.");
  const text = file
    .readBytes(0, file.sizeBytes)
    .toString("utf8")
    .replace(/^\ufeff/, "");
  let index: unknown;
  try {
    index = JSON.parse(text);
  } catch (cause) {
    throw file.failure(`is a JSON text that breaks off or is damaged: ${excerpt(text)}. Download it again.`, cause);
  }
  const weightMap: unknown = isObject(index) && "weight_map" in index ? index.weight_map : undefined;
  if (isObject(weightMap) && !Array.isArray(weightMap)) return new Map(Object.entries(weightMap));
  throw file.failure(
    `is a JSON text without a "weight_map", not a checkpoint: ${excerpt(text)}. ` +
      "If it is the answer to a failed download, repeat the download.",
  );
}

const isObject = (value: unknown): value is object => typeof value === "object" && value !== null;

const excerpt = (text: string): string => JSON.stringify(text.trim().slice(0, MAX_EXCERPT));
