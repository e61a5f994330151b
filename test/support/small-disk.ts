/** A disk of its own for a data folder, small enough to be filled: a tmpfs, which only root may mount. */
import { spawnSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface SmallDisk {
  readonly path: string;
  /** Until not a byte more fits. */
  fill(): void;
  makeRoom(): void;
  remove(): void;
}

const CHUNK = Buffer.alloc(64 * 1024, 1);

export const canMount = ((): boolean => {
  if (process.getuid?.() !== 0) return false;
  const path = mkdtempSync(join(tmpdir(), "atelier-disk-"));
  const isMounted = mount(path, 1);
  if (isMounted) spawnSync("umount", [path]);
  rmSync(path, { recursive: true, force: true });
  return isMounted;
})();

export function mountSmallDisk(megabytes: number): SmallDisk {
  const path = mkdtempSync(join(tmpdir(), "atelier-disk-"));
  if (!mount(path, megabytes)) throw new Error(`nothing could be mounted at ${path}`);
  const filler = join(path, "filler");
  return {
    path,
    fill() {
      const file = openSync(filler, "a");
      // In ever smaller pieces: the last one may have room where a larger one has none.
      for (let size = CHUNK.length; size >= 1; size = Math.floor(size / 16)) writeWhilePossible(file, size);
      closeSync(file);
    },
    makeRoom: () => rmSync(filler, { force: true }),
    remove() {
      spawnSync("umount", ["--lazy", path]);
      rmSync(path, { recursive: true, force: true });
    },
  };
}

function writeWhilePossible(file: number, size: number): void {
  try {
    for (;;) writeSync(file, CHUNK, 0, size);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
  }
}

function mount(path: string, megabytes: number): boolean {
  return spawnSync("mount", ["-t", "tmpfs", "-o", `size=${megabytes}m`, "tmpfs", path]).status === 0;
}
