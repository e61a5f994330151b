import type { CheckpointError } from "./checkpoint.ts";
import type { FileReader } from "./file-reader.ts";

/** One file inside a zip archive. torch stores its records uncompressed, so that they can be read in place. */
export interface ZipRecord {
  readonly name: string;
  readonly sizeBytes: number;
  /** CRC-32 of the data; NO_CHECKSUM where the writer computed none. */
  readonly checksum: number;
  /** Byte of the archive at which the record's local header starts: its data follows that header. */
  readonly headerPosition: number;
}

// Signatures, sizes and offsets of fields: PKWARE APPNOTE.TXT 6.3.10, sections 4.3.7 (local header), 4.3.12 (central
// header), 4.3.14 to 4.3.16 (ends of the directory) and 4.5.3 (zip64 extra field).
const LOCAL_HEADER = { signature: 0x04034b50, sizeBytes: 30 };
const CENTRAL_HEADER = { signature: 0x02014b50, sizeBytes: 46 };
const END = { signature: 0x06054b50, sizeBytes: 22 };
const END64 = { signature: 0x06064b50, sizeBytes: 56 };
const LOCATOR64 = { signature: 0x07064b50, sizeBytes: 20 };
const ZIP64_EXTRA_ID = 1;
const MAX_COMMENT_BYTES = 0xffff;
/** This value in a 32-bit field means: see the zip64 extra field. */
const IN_ZIP64 = 0xffffffff;
const ENCRYPTED = 1;
const STORED = 0;
/**
 * What torch stores after torch.serialization.set_crc32_options(False) (pytorch/pytorch#137735). One record in 2^32 has it
 * by right and goes unchecked.
 */
const NO_CHECKSUM = 0;
/** About 100 bytes a record; the largest models have some thousand. */
const MAX_DIRECTORY_BYTES = 64 * 1024 * 1024;

interface DirectorySpan {
  readonly recordCount: number;
  readonly position: number;
  readonly sizeBytes: number;
}

/** The central directory of a zip archive, by record name. */
export class ZipDirectory {
  private readonly intact = new Set<ZipRecord>();

  private constructor(
    private readonly file: FileReader,
    private readonly position: number,
    private readonly records: ReadonlyMap<string, ZipRecord>,
  ) {}

  static read(file: FileReader): ZipDirectory {
    const span = findDirectory(file);
    if (span.sizeBytes > MAX_DIRECTORY_BYTES) throw damaged(file, "its directory is too large");
    const bytes = file.readBytes(span.position, span.sizeBytes);
    const records = new Map<string, ZipRecord>();
    let offset = 0;
    for (let i = 0; i < span.recordCount; i++) {
      const { record, headerBytes } = parseCentralHeader(file, bytes.subarray(offset));
      if (records.has(record.name)) throw damaged(file, `it has two records "${record.name}"`);
      records.set(record.name, record);
      offset += headerBytes;
    }
    return new ZipDirectory(file, span.position, records);
  }

  get names(): readonly string[] {
    return [...this.records.keys()];
  }

  find(name: string): ZipRecord | undefined {
    return this.records.get(name);
  }

  /** Byte of the archive at which the record's data starts; all of it lies before the directory. */
  locate(record: ZipRecord): number {
    const header = this.file.readBytes(record.headerPosition, LOCAL_HEADER.sizeBytes);
    if (header.readUInt32LE(0) !== LOCAL_HEADER.signature) {
      throw damaged(this.file, `record "${record.name}" is not where its directory says`);
    }
    const nameBytes = header.readUInt16LE(26);
    const extraBytes = header.readUInt16LE(28); // torch pads here to align the data to 64 bytes
    const start = record.headerPosition + LOCAL_HEADER.sizeBytes + nameBytes + extraBytes;
    const name = this.file.readBytes(record.headerPosition + LOCAL_HEADER.sizeBytes, nameBytes).toString("utf8");
    if (name !== record.name) throw damaged(this.file, `record "${record.name}" calls itself "${name}" elsewhere`);
    if (start + record.sizeBytes > this.position)
      throw damaged(this.file, `record "${record.name}" does not fit in it`);
    return start;
  }

  /** Throws unless the record's data is what was saved; reads all of it, but only the first time. */
  requireIntact(record: ZipRecord): void {
    if (record.checksum === NO_CHECKSUM || this.intact.has(record)) return;
    const checksum = this.file.checksum(this.locate(record), record.sizeBytes);
    if (checksum !== record.checksum) {
      throw this.file.failure(
        `record "${record.name}" is damaged: its checksum is ${hex(checksum)} instead of ${hex(record.checksum)}. ` +
          "Download it again.",
      );
    }
    this.intact.add(record);
  }
}

/** Looks for the end record backwards: only a comment may follow it. */
function findDirectory(file: FileReader): DirectorySpan {
  const tailBytes = Math.min(file.sizeBytes, END.sizeBytes + MAX_COMMENT_BYTES);
  const tail = file.readBytes(file.sizeBytes - tailBytes, tailBytes);
  for (let at = tailBytes - END.sizeBytes; at >= 0; at--) {
    if (tail.readUInt32LE(at) !== END.signature) continue;
    if (tail.readUInt16LE(at + 20) !== tailBytes - at - END.sizeBytes) continue; // comment length
    return parseEnd(file, tail.subarray(at), file.sizeBytes - tailBytes + at);
  }
  throw file.failure("is a zip archive without its end: it is truncated. Download it again.");
}

function parseEnd(file: FileReader, end: Buffer, endPosition: number): DirectorySpan {
  const span = findEnd64(file, endPosition) ?? {
    recordCount: end.readUInt16LE(10),
    sizeBytes: end.readUInt32LE(12),
    position: end.readUInt32LE(16),
  };
  if (span.position + span.sizeBytes <= endPosition) return span;
  throw damaged(file, "its directory does not fit in it");
}

/** The zip64 end record, which torch always writes: its locator lies right before the end record. */
function findEnd64(file: FileReader, endPosition: number): DirectorySpan | undefined {
  if (endPosition < LOCATOR64.sizeBytes) return undefined;
  const locator = file.readBytes(endPosition - LOCATOR64.sizeBytes, LOCATOR64.sizeBytes);
  if (locator.readUInt32LE(0) !== LOCATOR64.signature) return undefined;
  const end = file.readBytes(readSafe(file, locator, 8), END64.sizeBytes);
  if (end.readUInt32LE(0) !== END64.signature) throw damaged(file, "its zip64 end record is missing");
  return {
    recordCount: readSafe(file, end, 32),
    sizeBytes: readSafe(file, end, 40),
    position: readSafe(file, end, 48),
  };
}

/** `bytes` starts at a central header and holds the rest of the directory. */
function parseCentralHeader(file: FileReader, bytes: Buffer): { record: ZipRecord; headerBytes: number } {
  if (bytes.length < CENTRAL_HEADER.sizeBytes || bytes.readUInt32LE(0) !== CENTRAL_HEADER.signature) {
    throw damaged(file, "its directory breaks off");
  }
  const nameEnd = CENTRAL_HEADER.sizeBytes + bytes.readUInt16LE(28);
  const extraEnd = nameEnd + bytes.readUInt16LE(30);
  const headerBytes = extraEnd + bytes.readUInt16LE(32);
  if (headerBytes > bytes.length) throw damaged(file, "its directory breaks off");

  const name = bytes.toString("utf8", CENTRAL_HEADER.sizeBytes, nameEnd);
  if (bytes.readUInt16LE(8) & ENCRYPTED)
    throw file.failure(`record "${name}" is encrypted. Decrypt the archive first.`);
  const [sizeBytes, compressedBytes, headerPosition] = resolveZip64(file, bytes.subarray(nameEnd, extraEnd), [
    bytes.readUInt32LE(24),
    bytes.readUInt32LE(20),
    bytes.readUInt32LE(42),
  ]);
  if (bytes.readUInt16LE(10) !== STORED) {
    throw file.failure(
      `record "${name}" is compressed, which torch never does. Repack it with "zip -0", or save it again.`,
    );
  }
  if (sizeBytes !== compressedBytes) throw damaged(file, `record "${name}" has two different sizes`);
  return { record: { name, sizeBytes, checksum: bytes.readUInt32LE(16), headerPosition }, headerBytes };
}

type Fields = readonly [sizeBytes: number, compressedBytes: number, headerPosition: number];

/** Replaces the fields that do not fit in 32 bits; the extra field holds just those, 8 bytes each, in this order. */
function resolveZip64(file: FileReader, extra: Buffer, fields: Fields): Fields {
  if (!fields.includes(IN_ZIP64)) return fields;
  const values = findExtra(extra, ZIP64_EXTRA_ID);
  let offset = 0;
  const resolve = (field: number): number => {
    if (field !== IN_ZIP64) return field;
    if (offset + 8 > values.length) throw damaged(file, "a record lacks its zip64 size");
    offset += 8;
    return readSafe(file, values, offset - 8);
  };
  return [resolve(fields[0]), resolve(fields[1]), resolve(fields[2])];
}

function findExtra(extra: Buffer, id: number): Buffer {
  for (let at = 0; at + 4 <= extra.length; at += 4 + extra.readUInt16LE(at + 2)) {
    if (extra.readUInt16LE(at) === id) return extra.subarray(at + 4, at + 4 + extra.readUInt16LE(at + 2));
  }
  return Buffer.alloc(0);
}

function readSafe(file: FileReader, bytes: Buffer, offset: number): number {
  const value = bytes.readBigUInt64LE(offset);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw damaged(file, "a size in its directory is impossible");
  return Number(value);
}

const hex = (checksum: number): string => checksum.toString(16).padStart(8, "0");

function damaged(file: FileReader, why: string): CheckpointError {
  return file.failure(`is a damaged zip archive: ${why}. Download it again.`);
}
