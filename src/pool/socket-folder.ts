/** A private folder for Unix sockets. It is independent of where the data are, because paths of sockets are short. */
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { StartupError } from "../platform/errors.ts";
import { lockFolder } from "../platform/folder-lock.ts";

/** Longest path of a Unix socket on Linux (108 bytes) and macOS (104), with its end. */
const MAX_SOCKET_PATH = 103;
const PREFIX = "atelier-workers-";

export interface SocketFolder {
  readonly path: string;
  /** Deletes the folder with what is in it. */
  remove(): void;
}

/** Also deletes those of this user's servers that were killed. */
export function makeSocketFolder(): SocketFolder {
  const parent = [tmpdir(), "/tmp"].find((folder) => hasRoom(folder));
  if (parent === undefined)
    throw new StartupError("The temporary folder's path is too long for Unix sockets. Set TMPDIR to a short path.");
  try {
    removeLeftovers(parent);
    const path = mkdtempSync(join(parent, PREFIX));
    const lock = lockFolder(path);
    return {
      path,
      remove() {
        lock.release();
        rmSync(path, { recursive: true, force: true });
      },
    };
  } catch (cause) {
    throw new StartupError(`Cannot write to ${parent}. Set TMPDIR to a folder that this user may write to.`, { cause });
  }
}

const hasRoom = (parent: string): boolean =>
  Buffer.byteLength(join(parent, `${PREFIX}XXXXXX`, "99999.sock")) <= MAX_SOCKET_PATH;

function removeLeftovers(parent: string): void {
  for (const name of readdirSync(parent).filter((entry) => entry.startsWith(PREFIX))) {
    const path = join(parent, name);
    try {
      if (statSync(path).uid !== process.getuid?.()) continue;
      lockFolder(path).release(); // fails while its server lives, in another container too
      rmSync(path, { recursive: true, force: true });
    } catch {}
  }
}
