/** Folders that are made beside their place and moved there when complete: there is the old one or the new one, never a mixture. */
import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";

/** Names of the unfinished folders of this process. */
const unfinishedHere = new Set<string>();

const prefixOf = (out: string): string => `.${basename(resolve(out))}.building-`;

/** An empty folder beside `out`. Leftovers of processes that were killed are removed on the way. */
export function makeUnfinishedFolder(out: string): string {
  const parent = dirname(resolve(out));
  const prefix = prefixOf(out);
  // Where several machines share a folder, process ids repeat: the random part keeps them apart.
  const name = `${prefix}${process.pid}-${randomUUID().slice(0, 8)}`;
  try {
    makeFolder(parent);
    for (const other of readdirSync(parent)) {
      if (other.startsWith(prefix) && !isBeingMade(other, prefix)) {
        rmSync(join(parent, other), { recursive: true, force: true });
      }
    }
    mkdirSync(join(parent, name));
  } catch (cause) {
    throw new Error(`Cannot write to ${parent}. Name a folder that you may write to.`, { cause });
  }
  unfinishedHere.add(name);
  return join(parent, name);
}

/** To be called in the end, whether it was moved to its place or not. */
export function removeUnfinishedFolder(unfinished: string): void {
  rmSync(unfinished, { recursive: true, force: true });
  unfinishedHere.delete(basename(unfinished));
}

/** Whether a process of this machine is making `out`. */
export function isBeingMadeElsewhere(out: string): boolean {
  const parent = dirname(resolve(out));
  const prefix = prefixOf(out);
  return existsSync(parent) && readdirSync(parent).some((name) => name.startsWith(prefix) && isBeingMade(name, prefix));
}

/** In a container an earlier process may have had the id of this one: its own folders it knows by name. */
function isBeingMade(name: string, prefix: string): boolean {
  const pid = Number.parseInt(name.slice(prefix.length), 10);
  return pid === process.pid ? unfinishedHere.has(name) : isAlive(pid);
}

/** Like mkdir -p. Not mkdirSync's `recursive`, which never returns where a folder can be seen but not made (as in /proc). */
function makeFolder(folder: string): void {
  if (existsSync(folder)) return;
  makeFolder(dirname(folder));
  try {
    mkdirSync(folder);
  } catch (error) {
    if (!existsSync(folder)) throw error; // another process made it meanwhile
  }
}

/** Several may be moved to one place at the same time: the last one stays. */
export function replaceFolder(out: string, finished: string): void {
  const replaced = `${finished}.old`;
  for (let isInPlace = false; !isInPlace; ) {
    rename(out, replaced, ["ENOENT"]);
    isInPlace = rename(finished, out, ["ENOTEMPTY", "EEXIST"]);
    rmSync(replaced, { recursive: true, force: true });
  }
}

/** False when it failed in one of the expected ways. */
function rename(from: string, to: string, expected: readonly string[]): boolean {
  try {
    renameSync(from, to);
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error && expected.includes(String(error.code))) return false;
    throw error;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
