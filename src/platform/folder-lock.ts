/**
 * One process at a time in a folder. The embedded database destroys its data when a second process opens them, so the
 * lock errs on the side of refusing.
 *
 * The lock is a file with the owner's identity. On the same machine (and in the same PID namespace) the owner's process
 * decides: a killed owner's lock is taken over at once, a live or merely stuck one's never. An owner elsewhere (another
 * container on a shared volume) cannot be looked at; it counts as gone when it has not touched the file for a minute.
 */
import {
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { hostname } from "node:os";
import { dirname, join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import { StartupError } from "./errors.ts";

const LOCK_FILE = "lock.json";
/** Held for the instant in which a dead owner's lock is replaced, so that only one process does it. */
const TAKEOVER_FILE = "lock.takeover";
const TOUCH_MS = 10_000;
const FOREIGN_STALE_MS = 60_000;
const TAKEOVER_STALE_MS = 10_000;

const ownerSchema = z.object({ pid: z.number(), startedAt: z.string(), place: z.string() });
type Owner = z.infer<typeof ownerSchema>;

/** Proof that this process owns a folder. */
export interface FolderLock {
  readonly folder: string;
  release(): void;
}

/** Creates the folder if need be. Throws a StartupError that names the owner while another process has it. */
export function lockFolder(folder: string): FolderLock {
  const path = join(folder, LOCK_FILE);
  const owner: Owner = { pid: process.pid, startedAt: processStart(process.pid), place: placeOfThisProcess() };
  makeWritable(folder, JSON.stringify(owner));
  if (!tryCreate(path, owner)) takeOver(folder, owner);
  const touch = setInterval(() => touchIfPresent(path), TOUCH_MS).unref();
  return {
    folder,
    release() {
      clearInterval(touch);
      if (isDeepStrictEqual(readOwner(path), owner)) rmSync(path, { force: true });
    },
  };
}

/** Without the file there is nothing to be done: this process still owns what it has open. */
function touchIfPresent(path: string): void {
  try {
    utimesSync(path, new Date(), new Date());
  } catch {}
}

/** @param sample written to see whether there is room */
function makeWritable(folder: string, sample: string): void {
  const probe = join(folder, `.probe-${process.pid}`);
  try {
    makeFolder(folder);
    writeFileSync(probe, sample);
  } catch (cause) {
    if (cause instanceof Error && "code" in cause && cause.code === "ENOSPC")
      throw new StartupError(`The disk of ${folder} is full. Make room and start again; nothing is lost.`, { cause });
    throw new StartupError(`Cannot write to ${folder}. Set DATA_DIR to a folder that this user may write to.`, {
      cause,
    });
  } finally {
    if (existsSync(probe)) rmSync(probe);
  }
}

/** Like mkdir -p. Not mkdirSync's `recursive`, which never returns where a folder can be seen but not made (as in /proc). */
function makeFolder(folder: string): void {
  if (existsSync(folder)) return;
  makeFolder(dirname(folder));
  try {
    mkdirSync(folder, { mode: 0o700 });
  } catch (error) {
    if (!existsSync(folder)) throw error; // otherwise another process was faster
  }
}

function takeOver(folder: string, owner: Owner): void {
  const path = join(folder, LOCK_FILE);
  const takeover = join(folder, TAKEOVER_FILE);
  if (ageMs(takeover) > TAKEOVER_STALE_MS) rmSync(takeover, { force: true });
  if (!tryCreate(takeover, owner)) throw inUse(folder, "another starting process");
  try {
    const current = readOwner(path);
    if (current !== undefined && isAlive(current, path)) throw inUse(folder, `process ${current.pid}`);
    rmSync(path, { force: true });
    if (!tryCreate(path, owner)) throw inUse(folder, "another starting process");
  } finally {
    rmSync(takeover, { force: true });
  }
}

const inUse = (folder: string, who: string): StartupError =>
  new StartupError(`${folder} is in use by ${who}. Stop that server first, or set DATA_DIR to another folder.`);

/** The file appears with its content in one instant, so that nobody takes it for one that a dying process left empty. */
function tryCreate(path: string, owner: Owner): boolean {
  const draft = `${path}.${process.pid}`;
  writeFileSync(draft, JSON.stringify(owner), { mode: 0o600 });
  try {
    linkSync(draft, path);
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EEXIST") return false;
    throw error;
  } finally {
    rmSync(draft, { force: true });
  }
}

/** Undefined for a file that is missing or damaged. */
function readOwner(path: string): Owner | undefined {
  try {
    return ownerSchema.parse(JSON.parse(readFileSync(path, "utf8")));
  } catch {
    return undefined;
  }
}

function isAlive(owner: Owner, path: string): boolean {
  if (owner.place !== placeOfThisProcess()) return ageMs(path) < FOREIGN_STALE_MS;
  try {
    process.kill(owner.pid, 0);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ESRCH") return false;
  }
  return processStart(owner.pid) === owner.startedAt; // else the PID was given to another process since
}

function ageMs(path: string): number {
  try {
    return Date.now() - statSync(path).mtimeMs;
  } catch {
    return 0;
  }
}

/** Start time of a process in clock ticks since boot; "dead" for a killed one that nobody reaped; empty without /proc. */
function processStart(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" "); // from field 3, the state, on
    return fields[0] === "Z" || fields[0] === "X" ? "dead" : (fields[19] ?? "");
  } catch {
    return "";
  }
}

/** Processes in the same place can see each other's PIDs. */
function placeOfThisProcess(): string {
  try {
    const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
    return `${hostname()} ${boot} ${readlinkSync("/proc/self/ns/pid")}`;
  } catch {
    return hostname();
  }
}
