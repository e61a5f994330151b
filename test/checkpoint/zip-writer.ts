import { closeSync, openSync, writeSync } from "node:fs";
import { crc32 } from "node:zlib";

export interface ZipEntry {
  readonly name: string;
  /** Its data, or what makes it when its turn comes; or its size alone, for zeros that cost no disk space. */
  readonly content: Uint8Array | number | (() => Uint8Array);
  readonly method?: number;
  readonly flags?: number;
  /** Of the content, unless given. 0, as torch writes it with checksums switched off, where the content is a size. */
  readonly checksum?: number;
}

/** Values that do not fit in 32 bits, or all of them with `isZip64`, go to zip64 fields, as torch's writer does. */
export function writeZip(path: string, entries: readonly ZipEntry[], { isZip64 = false } = {}): void {
  const descriptor = openSync(path, "w");
  let position = 0;
  const append = (bytes: Uint8Array): void => {
    writeSync(descriptor, bytes, 0, bytes.length, position);
    position += bytes.length;
  };
  const headers = entries.map((each) => {
    const entry = { ...each, content: typeof each.content === "function" ? each.content() : each.content };
    const headerPosition = position;
    append(localHeader(entry, position));
    if (typeof entry.content === "number") position += entry.content;
    else append(entry.content);
    return centralHeader(entry, headerPosition, isZip64);
  });
  const directory = Buffer.concat(headers);
  const directoryPosition = position;
  append(directory);
  append(endRecords(entries.length, directory.length, directoryPosition));
  closeSync(descriptor);
}

/** An entry whose turn has come. */
interface ReadyEntry extends ZipEntry {
  readonly content: Uint8Array | number;
}

const sizeOf = ({ content }: ReadyEntry): number => (typeof content === "number" ? content : content.length);
const checksumOf = ({ content, checksum }: ReadyEntry): number =>
  checksum ?? (typeof content === "number" ? 0 : crc32(content));
const LIMIT = 0xffffffff;

/** Padded in the extra field so that the data starts at a multiple of 64, as torch does. */
function localHeader(entry: ReadyEntry, position: number): Buffer {
  const name = Buffer.from(entry.name);
  const padding = 4 + ((64 - ((position + 30 + name.length + 4) % 64)) % 64);
  const header = Buffer.alloc(30 + name.length + padding);
  header.writeUInt32LE(0x04034b50, 0);
  header.writeUInt16LE(entry.flags ?? 0, 6);
  header.writeUInt16LE(entry.method ?? 0, 8);
  header.writeUInt32LE(checksumOf(entry), 14);
  header.writeUInt32LE(Math.min(sizeOf(entry), LIMIT), 18);
  header.writeUInt32LE(Math.min(sizeOf(entry), LIMIT), 22);
  header.writeUInt16LE(name.length, 26);
  header.writeUInt16LE(padding, 28);
  name.copy(header, 30);
  header.write("FB", 30 + name.length, "latin1");
  header.writeUInt16LE(padding - 4, 32 + name.length);
  return header;
}

function centralHeader(entry: ReadyEntry, position: number, isZip64: boolean): Buffer {
  const name = Buffer.from(entry.name);
  const limit = isZip64 ? 0 : LIMIT - 1;
  const fields = [sizeOf(entry), sizeOf(entry), position];
  const wide = fields.filter((value) => value > limit);
  // Another extra field comes first: it has to be skipped.
  const extra = Buffer.alloc(8 + (wide.length > 0 ? 4 + 8 * wide.length : 0));
  extra.write("FB", 0, "latin1");
  extra.writeUInt16LE(4, 2);
  if (wide.length > 0) {
    extra.writeUInt16LE(1, 8);
    extra.writeUInt16LE(8 * wide.length, 10);
    for (const [i, value] of wide.entries()) extra.writeBigUInt64LE(BigInt(value), 12 + 8 * i);
  }
  const header = Buffer.alloc(46);
  header.writeUInt32LE(0x02014b50, 0);
  header.writeUInt16LE(entry.flags ?? 0, 8);
  header.writeUInt16LE(entry.method ?? 0, 10);
  header.writeUInt32LE(checksumOf(entry), 16);
  for (const [i, at] of [24, 20, 42].entries()) {
    const value = fields[i] ?? 0;
    header.writeUInt32LE(value > limit ? LIMIT : value, at);
  }
  header.writeUInt16LE(name.length, 28);
  header.writeUInt16LE(extra.length, 30);
  return Buffer.concat([header, name, extra]);
}

/** zip64 end record, its locator, and the end record. */
function endRecords(count: number, directoryBytes: number, directoryPosition: number): Buffer {
  const end64 = Buffer.alloc(56);
  end64.writeUInt32LE(0x06064b50, 0);
  end64.writeBigUInt64LE(44n, 4);
  end64.writeBigUInt64LE(BigInt(count), 24);
  end64.writeBigUInt64LE(BigInt(count), 32);
  end64.writeBigUInt64LE(BigInt(directoryBytes), 40);
  end64.writeBigUInt64LE(BigInt(directoryPosition), 48);
  const locator = Buffer.alloc(20);
  locator.writeUInt32LE(0x07064b50, 0);
  locator.writeBigUInt64LE(BigInt(directoryPosition + directoryBytes), 8);
  locator.writeUInt32LE(1, 16);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(count, 8);
  end.writeUInt16LE(count, 10);
  end.writeUInt32LE(directoryBytes, 12);
  end.writeUInt32LE(Math.min(directoryPosition, LIMIT), 16);
  return Buffer.concat([end64, locator, end]);
}
