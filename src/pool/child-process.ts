import type { ChildProcess } from "node:child_process";

/** Resolves when a child is gone: with its exit code, or null when a signal ended it or it never started. */
export async function exitOf(child: ChildProcess): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
  return new Promise((resolve) => {
    child.once("close", (code) => resolve(code));
    child.once("error", () => resolve(null));
  });
}
