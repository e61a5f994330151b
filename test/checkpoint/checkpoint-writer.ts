import { join } from "node:path";
import { type Node, pickle } from "./pickle-writer.ts";
import { createFile, createFolder } from "./temporary-folder.ts";
import { writeZip, type ZipEntry } from "./zip-writer.ts";

export const floats = (...values: readonly number[]): Buffer => Buffer.from(new Float32Array(values).buffer);

/** 0, 1, 2, ... as fp32. */
export const ramp = (count: number): Buffer => Buffer.from(Float32Array.from({ length: count }, (_, i) => i).buffer);

/** A zip checkpoint with this pickle and these storages; its path. */
export function writeTorchZip(
  data: Buffer,
  storages: Readonly<Record<string, Uint8Array>> = {},
  extra: readonly ZipEntry[] = [],
): string {
  const path = join(createFolder(), "model.ckpt");
  writeZip(path, torchEntries(data, storages, extra));
  return path;
}

/** The records of a zip checkpoint. */
export const torchEntries = (
  data: Buffer,
  storages: Readonly<Record<string, Uint8Array>> = {},
  extra: readonly ZipEntry[] = [],
): readonly ZipEntry[] => [
  { name: "archive/data.pkl", content: data },
  ...extra,
  ...Object.entries(storages).map(([key, content]) => ({ name: `archive/data/${key}`, content })),
  { name: "archive/version", content: Buffer.from("3\n") },
];

export interface LegacyStorage {
  readonly key: string;
  readonly count: number;
  readonly bytes: Uint8Array;
}

/** A pre-1.6 checkpoint; its path. */
export function writeTorchLegacy(top: Node, storages: readonly LegacyStorage[], isLittleEndian = true): string {
  const machine: Node = new Map<Node, Node>([
    ["protocol_version", 1001],
    ["little_endian", isLittleEndian],
  ]);
  return createFile(
    Buffer.concat([
      pickle(0x1950a86a20f9469cfc6cn),
      pickle(1001),
      pickle(machine),
      pickle(top),
      pickle({ list: storages.map(({ key }) => key) }),
      ...storages.flatMap(({ count, bytes }) => [int64(count), bytes]),
    ]),
  );
}

/** A safetensors file of this header (any JSON, or its text) and data; its path. */
export function writeSafetensors(header: object | string, data: Uint8Array = Buffer.alloc(0)): string {
  return createFile(safetensorsBytes(header, data), "model.safetensors");
}

export function safetensorsBytes(header: object | string, data: Uint8Array = Buffer.alloc(0)): Buffer {
  const text = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  return Buffer.concat([int64(text.length), text, data]);
}

export function int64(value: number | bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}
