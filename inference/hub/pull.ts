/** A whole checkpoint from a hub: several files at a time, and only what is missing. */
import { mkdirSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { type DownloadOptions, download } from "./download.ts";
import { HubError } from "./hub-error.ts";
import type { Hub, HubFile } from "./repository.ts";

const PARALLEL_FILES = 3;

export interface PullOptions extends Omit<DownloadOptions, "onProgress"> {
  /** Bytes that are there, of all files. */
  readonly onProgress: (bytes: number) => void;
}

/** The first failure ends the other downloads too; what they have is kept. */
export async function pullFiles(hub: Hub, files: readonly HubFile[], options: PullOptions): Promise<void> {
  mkdirSync(options.folder, { recursive: true });
  await requireSpace(files, options.folder);
  const failed = new AbortController();
  const signal = AbortSignal.any([options.signal, failed.signal]);
  const sizes = new Map<string, number>();
  const waiting = [...files];
  const downloadNext = async (): Promise<void> => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      const { path } = file;
      await download(hub, file, {
        ...options,
        signal,
        onProgress(bytes) {
          sizes.set(path, bytes);
          options.onProgress([...sizes.values()].reduce((sum, size) => sum + size, 0));
        },
      });
    }
  };
  const failures: unknown[] = [];
  const lanes = Array.from({ length: PARALLEL_FILES }, () =>
    downloadNext().catch((error: unknown) => {
      failures.push(error);
      failed.abort();
    }),
  );
  await Promise.all(lanes);
  if (failures.length > 0) throw failures[0];
}

/** A disk that is full after 11 of 12 GB is found out now. */
async function requireSpace(files: readonly HubFile[], folder: string): Promise<void> {
  const largest = files.reduce((sum, { size }) => sum + size, 0);
  const { bavail, bsize } = await statfs(folder);
  if (bavail * bsize >= largest) return;
  const gigabytes = (bytes: number): string => (bytes / 1e9).toFixed(1);
  throw new HubError(
    `The checkpoint takes ${gigabytes(largest)} GB, and ${folder} has ${gigabytes(bavail * bsize)} GB left. Make room, or name another folder.`,
  );
}
